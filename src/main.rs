//! The program: reads the arguments, calls what they ask for, maps the outcome to an exit code.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use swarmgate::cli::{Args, Association, Command};
use swarmgate::config::{Config, parse, render};
use swarmgate::{app, health};

fn main() -> ExitCode {
    let args = Args::read();
    let config = match Config::from_args(&args) {
        Ok(config) => config,
        Err(problems) => return end(1, problems),
    };
    match &args.command {
        None => app::run(config),
        Some(Command::Check) => {
            let problems = app::problems(&config);
            let text = render::effective(&config, &args) + &app::association::brief(&config);
            let written = stdout().write_all(text.as_bytes());
            let warnings = config.warnings.iter().map(|w| format!("warning: {w}"));
            end((written.is_err() || !problems.is_empty()).into(), warnings.chain(problems))
        }
        Some(Command::Health) => match health::run(&config.listen, health::LIMIT) {
            Ok(()) => ExitCode::SUCCESS,
            Err(sick) => end(1, [sick]),
        },
        Some(Command::Association(Association::Show)) => app::association::show(&config),
        Some(Command::Association(Association::Reset { key })) => {
            match key.as_deref().map(parse::fingerprint).transpose() {
                Ok(key) => app::association::reset(&config, key),
                Err(reason) => end(2, [format!("--key: {reason}")]),
            }
        }
    }
}

fn end(code: u8, lines: impl IntoIterator<Item = impl Display>) -> ExitCode {
    lines.into_iter().for_each(|line| drop(writeln!(stderr(), "swarmgate: {line}")));
    code.into()
}
