//! What a list's query selects, and the query that each node gets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

/// A list's query, taken apart as far as merging needs it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selection {
    /// As received, `filters` excluded.
    others: Vec<String>,
    /// In the spelling received: Docker takes `{"k":["v"]}` and `{"k":{"v":true}}`.
    filters: Option<Map<String, Value>>,
    /// The n newest of what the other filters leave. Docker takes n below 1 as no limit.
    pub(super) limit: Option<usize>,
}

/// Enough to keep a JSON text whole in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

impl Selection {
    /// Reads a query. What does not parse stays as it is: the engine says what is wrong with it.
    pub(super) fn of(query: &str) -> Self {
        let mut selection = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match decoded(name).as_str() {
                "filters" if selection.filters.is_none() => {
                    if let Ok(Value::Object(filters)) = serde_json::from_str(&decoded(value)) {
                        selection.filters = Some(filters);
                        continue;
                    }
                }
                "limit" => selection.limit = decoded(value).parse().ok().filter(|limit| *limit > 0),
                _ => {}
            }
            selection.others.push(pair.to_owned());
        }
        selection
    }

    /// The values of a filter in either spelling.
    pub(super) fn values(&self, filter: &str) -> Vec<String> {
        match self.filters.as_ref().and_then(|filters| filters.get(filter)) {
            Some(Value::Array(values)) => {
                values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
            }
            Some(Value::Object(values)) => values.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// The query without these filters, and without the limit where what was filtered must be counted first.
    pub(super) fn without(&self, filters: &[&str], limit: Limit) -> String {
        let mut pairs: Vec<String> = self.others.clone();
        if limit == Limit::Ours {
            let name = |pair: &str| decoded(pair.split('=').next().unwrap_or_default());
            pairs.retain(|pair| name(pair) != "limit");
            // A limit selects stopped containers too, whatever `all` says; an engine reads the first `all` alone.
            if self.limit.is_some() {
                pairs.retain(|pair| name(pair) != "all");
                pairs.push("all=1".to_owned());
            }
        }
        let mut kept = self.filters.clone().unwrap_or_default();
        kept.retain(|name, _| !filters.contains(&name.as_str()));
        if !kept.is_empty() {
            let text = Value::Object(kept).to_string();
            pairs.push(format!("filters={}", utf8_percent_encode(&text, QUERY)));
        }
        pairs.join("&")
    }
}

/// Who counts a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Each engine cuts its own list; the cluster's first n are among them.
    Engines,
    /// We cut, because the engines' lists are filtered further here.
    Ours,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_filters_are_read_and_kept() {
        let rows = [
            r#"{"before":["web"],"status":["exited"]}"#,
            r#"{"before":{"web":true},"status":{"exited":true}}"#,
        ];
        for filters in rows {
            let query = format!("all=1&filters={}", utf8_percent_encode(filters, QUERY));
            let selection = Selection::of(&query);
            assert_eq!(selection.values("before"), ["web"], "{filters}");
            let rest = selection.without(&["before"], Limit::Engines);
            let rest = Selection::of(&rest);
            assert_eq!(rest.values("before"), Vec::<String>::new());
            assert_eq!(rest.values("status"), ["exited"]);
        }
    }

    #[test]
    fn a_limit_below_one_is_none() {
        for (query, limit) in [("limit=2", Some(2)), ("limit=0", None), ("limit=-1", None), ("", None)] {
            assert_eq!(Selection::of(query).limit, limit, "{query}");
        }
    }

    #[test]
    fn what_is_not_json_goes_on_as_it_came() {
        let selection = Selection::of("filters=%7Bbad&size=1");
        assert_eq!(selection.without(&["node"], Limit::Engines), "filters=%7Bbad&size=1");
    }

    #[test]
    fn raw_brackets_are_read() {
        let selection = Selection::of("filters=%7B%22dangling%22:[%22true%22]%7D");
        assert_eq!(selection.values("dangling"), ["true"]);
    }

    #[test]
    fn a_limit_that_is_counted_here_takes_stopped_containers_in_whatever_all_said() {
        let rows = [
            ("all=0&limit=2&size=1", "size=1&all=1"),
            ("limit=2&all=false&a%6cl=0", "all=1"),
            ("all=0&size=1", "all=0&size=1"),
            ("all=0&limit=0", "all=0"),
        ];
        for (query, sent) in rows {
            assert_eq!(Selection::of(query).without(&[], Limit::Ours), sent, "{query}");
        }
        assert_eq!(Selection::of("all=0&limit=2").without(&[], Limit::Engines), "all=0&limit=2");
    }
}
