//! Variables that are not ours: those of Portainer's agent that mean nothing here, and mistyped ones.

use super::Problem;
use crate::cli::{self, Args};

/// Whole families of Portainer's variables: Edge, mutual TLS, AWS, Kubernetes.
const FAMILIES: [&str; 4] = ["EDGE_", "MTLS_", "AWS_", "KUBERNETES_"];
const SINGLES: [&str; 5] = ["EDGE", "UPDATE_ID", "PORTAINER_GROUP", "PORTAINER_TAGS", "PODMAN"];

/// The variables of Portainer's agent that were set and decide nothing here, sorted.
pub(super) fn ignored(args: &Args) -> Vec<String> {
    let is_theirs = |v: &&String| SINGLES.contains(&v.as_str()) || FAMILIES.iter().any(|f| v.starts_with(f));
    let set = args.surroundings.variables.iter().filter(is_theirs).cloned();
    let accepted = cli::declared().into_iter().filter(|d| d.hidden).map(|d| d.variable);
    let mut ignored: Vec<_> = set.chain(accepted.filter(|v| args.origins.contains_key(v))).collect();
    ignored.sort();
    ignored.dedup();
    ignored
}

pub(super) fn warning(ignored: &[String]) -> Option<String> {
    let names: Vec<_> = ignored.iter().map(|n| n.escape_debug().to_string()).collect();
    (!names.is_empty())
        .then(|| format!("set for Portainer's agent and without effect here: {}", names.join(", ")))
}

/// `AGENT_*` variables that do not exist: a typo in a setting of security must not be silent.
pub(super) fn unknown(variables: &[String]) -> Vec<Problem> {
    let known: Vec<_> = cli::declared().into_iter().map(|d| d.variable).collect();
    let is_unknown = |v: &&String| v.starts_with("AGENT_") && !known.contains(v);
    let mut unknown: Vec<_> = variables.iter().filter(is_unknown).collect();
    unknown.sort();
    unknown.into_iter().map(|v| Problem::new(v.escape_debug().to_string(), suggestion(v, &known))).collect()
}

fn suggestion(variable: &str, known: &[String]) -> String {
    let nearest = known.iter().map(|k| (distance(variable, k), k)).min();
    match nearest {
        // More than three slips are another word.
        Some((1..=3, name)) => format!("there is no such option; {name} is meant?"),
        _ => "there is no such option".into(),
    }
}

/// How many letters have to be put in, taken out or changed.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let above = *cell;
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let rows = [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "", 3),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("abcd", "bcd", 1),
        ];
        for (from, to, expected) in rows {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_typo_is_a_problem_with_the_name_that_was_meant() {
        let variables = ["AGENT_SECERT", "AGENT_SECRET", "AGENT_FAVOURITE_COLOUR", "PATH", "SSH_AGENT_PID"];
        let found = unknown(&variables.map(String::from));
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "AGENT_FAVOURITE_COLOUR: there is no such option",
                "AGENT_SECERT: there is no such option; AGENT_SECRET is meant?",
            ]
        );
    }
}
