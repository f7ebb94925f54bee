//! Reads options one by one and collects what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Problem;
use crate::cli::{Args, Origin};
use crate::config::parse::Reason;
use crate::model::Secret;

/// 64 KiB: a secret has tens of bytes; `/dev/zero` has no end.
const SECRET_FILE_BYTES: u64 = 64 << 10;
/// 8: a rotation needs two, and each costs 19 MiB and tens of milliseconds at the start.
const SECRET_FILES: usize = 8;

/// A variable and what was written for it.
type Written<'a> = (&'static str, &'a Option<String>);

pub(super) struct Reader<'a> {
    pub(super) args: &'a Args,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(args: &'a Args) -> Self {
        Self { args, problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, option: &str, reason: impl Into<String>) {
        self.problems.push(Problem::new(option, reason));
    }

    /// The option's text. Set but empty is a problem: a variable that did not expand must not switch anything off.
    pub(super) fn text(&mut self, option: &'static str, written: &'a Option<String>) -> Option<&'a str> {
        let text = written.as_deref()?;
        if text.trim().is_empty() {
            self.problem(option, "is set but empty; leave it out to use the default");
            return None;
        }
        Some(text)
    }

    /// The option's value, for options that are no secrets: a problem shows the text.
    pub(super) fn parse<T>(
        &mut self,
        option: &'static str,
        written: &'a Option<String>,
        parser: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let text = self.text(option, written)?;
        parser(text).map_err(|reason| self.problem(option, format!("{text:?}: {reason}"))).ok()
    }

    /// The path of a file that can be read now.
    pub(super) fn file(&mut self, option: &'static str, written: &'a Option<String>) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(option, written)?);
        self.readable(option, &path);
        Some(path)
    }

    pub(super) fn readable(&mut self, option: &'static str, path: &Path) {
        let opened = File::open(path).and_then(|f| f.metadata());
        match opened {
            Ok(about) if about.is_dir() => self.problem(option, format!("{} is a directory", shown(path))),
            Ok(_) => {}
            Err(error) => self.problem(option, format!("cannot read {}: {error}", shown(path))),
        }
    }

    /// A secret from its variable, or from the files that its `_FILE` variable names.
    pub(super) fn secrets(
        &mut self,
        text: Written<'a>,
        file: Written<'a>,
        split: impl Fn(&'a str) -> Vec<&'a str>,
    ) -> Vec<Secret> {
        let (text, file) = self.preferred(text, file);
        if let Some(text) = self.text(text.0, text.1) {
            return vec![Secret::new(text)];
        }
        let option = file.0;
        let Some(paths) = self.text(option, file.1).map(split) else { return Vec::new() };
        if paths.len() > SECRET_FILES {
            self.problem(option, format!("names more than {SECRET_FILES} files"));
            return Vec::new();
        }
        let mut secrets = Vec::new();
        for path in paths {
            match secret_in(Path::new(path)) {
                Ok(secret) => secrets.push(secret),
                Err(reason) => self.problem(option, reason),
            }
        }
        secrets
    }

    /// A flag beats the environment; two of the same origin contradict each other.
    fn preferred(&mut self, text: Written<'a>, file: Written<'a>) -> (Written<'a>, Written<'a>) {
        if text.1.is_none() || file.1.is_none() {
            return (text, file);
        }
        let origin = |w: Written<'_>| self.args.origins.get(w.0).copied().unwrap_or(Origin::Flag);
        match origin(text).cmp(&origin(file)) {
            std::cmp::Ordering::Less => ((text.0, &None), file),
            std::cmp::Ordering::Greater => (text, (file.0, &None)),
            std::cmp::Ordering::Equal => {
                self.problem(file.0, format!("is set, and so is {}; one of them has to go", text.0));
                (text, (file.0, &None))
            }
        }
    }
}

fn secret_in(path: &Path) -> Result<Secret, Reason> {
    let cannot = |error: io::Error| format!("cannot read {}: {error}", shown(path));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(SECRET_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > SECRET_FILE_BYTES {
        return Err(format!("{} is too big for a secret", shown(path)));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text (UTF-8)", shown(path)))?;
    // Editors and `echo` end a file with a newline that nobody means.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.trim().is_empty() {
        return Err(format!("{} is empty", shown(path)));
    }
    Ok(Secret::new(text))
}

/// A path in a message. What is not an absolute path may be a secret in the wrong variable.
fn shown(path: &Path) -> String {
    if path.is_absolute() { format!("{path:?}") } else { "the file that it names".into() }
}
