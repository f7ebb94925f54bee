//! The table in the code and the list of the Engine API's routes are the same.
#![expect(clippy::expect_used, reason = "a broken list is a failed test")]

use std::collections::BTreeSet;

use swarmgate::decide::table::{AGENT, Access, ObjectKind, Pace, ROUTES, Route, Scope, UNKNOWN};

const LIST: &str = include_str!("data/routes.csv");

#[test]
fn the_table_is_the_list() {
    let listed: BTreeSet<_> = rows().iter().map(|r| (cell(r, "method"), cell(r, "path_template"))).collect();
    let tabled: BTreeSet<_> = ROUTES.iter().map(|r| (r.method.to_owned(), r.pattern.to_owned())).collect();
    assert_eq!((rows().len(), listed.len(), ROUTES.len()), (117, 117, 117));
    assert_eq!(tabled, listed);
}

#[test]
fn every_row_goes_where_the_list_says() {
    for row in rows() {
        let route = tabled(&row);
        let scope = match route.scope {
            Scope::Own(_) | Scope::There(_) => "own",
            Scope::Local | Scope::Itself(_) => "local",
            Scope::Owner(..) => "owner",
            Scope::Manager => "manager",
            Scope::Cluster(_) => "cluster",
            Scope::Any => "any",
        };
        assert_eq!(scope, cell(&row, "scope"), "{route:?}");
        if let Scope::Owner(kind, _) = route.scope {
            let kind = match kind {
                ObjectKind::Container => "container",
                ObjectKind::Exec => "exec",
                ObjectKind::Image => "image",
                ObjectKind::Volume => "volume",
                ObjectKind::Network => "network",
                ObjectKind::Plugin => "node-local",
            };
            assert_eq!(kind, cell(&row, "owner_kind"), "{route:?}");
        }
    }
}

#[test]
fn what_mutates_needs_write_access_and_nothing_else_does() {
    for row in rows() {
        let route = tabled(&row);
        assert_eq!(route.access == Access::Write, cell(&row, "mutates") == "y", "{route:?}");
    }
}

/// What answers in one piece, and may rightly be silent for longer than any ordinary answer.
const QUIET: [(&str, &str); 10] = [
    // Until a container has ended, which may take days.
    ("POST", "/containers/{id}/wait"),
    // Until it has ended by itself, or the client's own `t` is over; `t=-1` is for ever.
    ("POST", "/containers/{id}/stop"),
    ("POST", "/containers/{id}/restart"),
    // Until every layer, volume and log on the disk has been measured.
    ("GET", "/system/df"),
    // Until a container's whole file system has been written as a layer.
    ("POST", "/commit"),
    // Until all that nobody uses has been removed, one by one.
    ("POST", "/containers/prune"),
    ("POST", "/images/prune"),
    ("POST", "/volumes/prune"),
    ("POST", "/networks/prune"),
    ("POST", "/build/prune"),
];

#[test]
fn streams_uploads_and_what_waits_for_something_take_their_time_and_nothing_else_does() {
    let streams = ["hijack", "raw-stream", "ndjson-stream", "tar"];
    let (mut flowing, mut quiet) = (0, 0);
    for row in rows() {
        let flows = streams.contains(&&*cell(&row, "response"))
            || ["tar", "stream"].contains(&&*cell(&row, "request_body"));
        let waits = QUIET.contains(&(&cell(&row, "method"), &cell(&row, "path_template")));
        let pace = if flows || waits { Pace::Long } else { Pace::Plain };
        assert_eq!(tabled(&row).pace, pace, "{row:?}");
        (flowing, quiet) = (flowing + usize::from(flows), quiet + usize::from(waits && !flows));
    }
    assert_eq!((flowing, quiet), (25, QUIET.len()));
    assert_eq!(UNKNOWN.pace, Pace::Long);
}

#[test]
fn files_and_consoles_take_their_time_and_no_other_path_of_the_agents_own() {
    let lasting: Vec<_> = AGENT.iter().filter(|r| r.pace == Pace::Long).map(|r| r.pattern).collect();
    let ends =
        ["browse/get", "browse/put", "/{volume}/get", "/{volume}/put", "websocket/exec", "websocket/attach"];
    let expected = AGENT.iter().map(|r| r.pattern).filter(|p| ends.iter().any(|end| p.ends_with(end)));
    assert_eq!(lasting, expected.collect::<Vec<_>>());
    assert_eq!(lasting.len(), 12);
}

/// The rows of the list, each as pairs of column and field.
fn rows() -> Vec<Vec<(String, String)>> {
    let mut lines = LIST.lines().map(fields);
    let columns = lines.next().expect("a header line");
    lines
        .map(|fields| {
            assert_eq!(fields.len(), columns.len(), "{fields:?}");
            columns.iter().cloned().zip(fields).collect()
        })
        .collect()
}

/// Splits a line at its commas outside quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("one field at least").push(c),
        }
    }
    fields
}

fn cell(row: &[(String, String)], column: &str) -> String {
    row.iter().find(|(name, _)| name == column).expect(column).1.clone()
}

fn tabled(row: &[(String, String)]) -> &'static Route {
    let (method, pattern) = (cell(row, "method"), cell(row, "path_template"));
    ROUTES.iter().find(|r| r.method == method && r.pattern == pattern).expect("every listed row is tabled")
}
