//! The commands, one file each.
//!
//! What comes in: arguments. What goes out: text or JSON on standard output, everything else on standard error, and an
//! [`Exit`]. What never happens here: a decision about a log line.

pub mod backup;
pub mod check;
pub mod demo;
pub mod eval;
pub mod incident;
pub mod notify;
pub mod once;
pub mod order;
pub mod output;
pub mod print_config;
pub mod routes;
pub mod run;
pub mod scan;
pub mod silence;
pub mod store;
pub mod templates;
pub mod text;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::told;
use crate::config::env::Env;
use crate::config::{Loaded, Loader, Mistakes, Settings};
use crate::detect::personal;

/// Finds what is not normal in Grafana Loki's logs and turns it into few, well-explained incidents.
#[derive(Debug, Parser)]
#[command(name = "sigyn", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 something was found (with --exit-code).
Every setting can also come from the environment, as SIGYN__SECTION__KEY; `sigyn print-config --defaults` lists them all.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch Loki until told to stop.
    Run(run::Args),
    /// Judge what is new since last time, then end.
    Once(once::Args),
    /// Judge a log file or standard input.
    Scan(scan::Args),
    /// Measure how well labelled files are judged.
    Eval(eval::Args),
    /// Show what the lines of a log file have in common.
    Templates(templates::Args),
    /// Look for all mistakes in the settings at once.
    Check(check::Args),
    /// Show sigyn find planted faults, with nothing else installed.
    Demo(demo::Args),
    /// Print the settings in force, secrets masked.
    PrintConfig(print_config::Args),
    /// Look at incidents, and say what you want with them.
    Incident(incident::Args),
    /// Say what you do not want to hear of for a time.
    Silence(silence::Args),
    /// Show who would hear of an incident, when and how often.
    Routes(routes::Args),
    /// Try the receivers of messages.
    Notify(notify::Args),
    /// Write the whole state into a file, also while sigyn runs.
    Backup(backup::Args),
    /// Fill an empty place with what a backup holds.
    Restore(backup::Args),
    /// Look after the store.
    Store(store::Args),
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Settings file; without it ./sigyn.yaml when that exists, else the built-in defaults
    #[arg(long, global = true, env = "SIGYN_CONFIG", hide_env_values = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// What every command takes that has results to show.
#[derive(Clone, Debug, Default, Args)]
pub struct Output {
    /// How results look on standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// Folder of the state, in place of `store.data_dir`
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

/// How results look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, `"type"` first.
    Json,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to do: 0.
    Done,
    /// It could not: 1.
    Failed,
    /// It was asked wrongly, by its arguments or its settings: 2.
    Usage,
    /// It found something, and `--exit-code` asked to say so: 3.
    Found,
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// What went wrong; [`Exit::of`] shows it and gives the exit code.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let common = &self.common;
        match &self.command {
            Command::Run(args) => run::run(args, common).await,
            Command::Once(args) => once::run(args, common).await,
            Command::Scan(args) => scan::run(args, common).await,
            Command::Eval(args) => eval::run(args, common).await,
            Command::Templates(args) => templates::run(args),
            Command::Check(args) => check::run(args, common).await,
            Command::Demo(args) => demo::run(args, common).await,
            Command::PrintConfig(args) => print_config::run(args, common).await,
            Command::Incident(args) => incident::run(args, common).await,
            Command::Silence(args) => silence::run(args, common).await,
            Command::Routes(args) => routes::run(args, common).await,
            Command::Notify(args) => notify::run(args, common).await,
            Command::Backup(args) => backup::backup(args, common).await,
            Command::Restore(args) => backup::bring_back(args, common).await,
            Command::Store(args) => store::run(args, common).await,
        }
    }
}

impl Common {
    /// What reads the settings, now and again later.
    #[must_use]
    pub fn loader(&self) -> Loader {
        Loader::new(self.config.clone(), environment())
    }

    /// The settings; says on standard error where they came from and what may not be meant.
    ///
    /// # Errors
    /// All mistakes in them, as [`Mistakes`].
    pub fn settings(&self) -> anyhow::Result<Loaded> {
        let loaded = self.loader().load()?;
        personal::install(&loaded.settings.mask);
        eprintln!("sigyn: {}", loaded.origin());
        for note in &loaded.notes {
            eprintln!("sigyn: note: {note}");
        }
        Ok(loaded)
    }
}

impl Output {
    /// The settings with the folder of the state that the arguments name.
    pub fn apply(&self, settings: &mut Settings) {
        if let Some(folder) = &self.data_dir {
            settings.store.data_dir.clone_from(folder);
        }
    }
}

impl Exit {
    /// Shows an error with all its causes on standard error. Mistakes in the settings are wrong usage.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        eprintln!("sigyn: {}", told(error));
        if error.downcast_ref::<Mistakes>().is_some() { Self::Usage } else { Self::Failed }
    }
}

/// A text of several lines, each made safe for a terminal.
fn lines(text: &str) -> String {
    text.lines().map(output::clean).collect::<Vec<_>>().join("\n")
}

/// Writes to standard output. Whoever reads it may go away early (`| head`): that is no failure.
///
/// # Errors
/// When it cannot be written for any other reason.
pub fn show(text: &str) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output"))
        }
        _ => Ok(Exit::Done),
    }
}

/// The environment of the process. What is not Unicode comes out changed, and so is refused where it is used.
fn environment() -> Env {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Found => 3,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistakes_in_the_settings_are_wrong_usage_and_anything_else_is_a_failure() {
        let mistakes = Loader::new(Some(PathBuf::from("/no/such/file")), Env::new()).load().unwrap_err();
        let error = anyhow::Error::new(mistakes).context("cannot start");
        assert_eq!(Exit::of(&error), Exit::Usage);
        assert_eq!(Exit::of(&anyhow::anyhow!("Loki is away")), Exit::Failed);
    }

    #[test]
    fn wrong_usage_is_code_2() {
        let error = Cli::try_parse_from(["sigyn", "scan"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
