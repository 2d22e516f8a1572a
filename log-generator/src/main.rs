//! The binary: arguments in, exit code out.

use clap::Parser;
use log_generator::cli::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    match Cli::parse().run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("log-generator: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
