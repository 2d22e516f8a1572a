//! Arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;
use sigyn::cli::{Cli, Exit};

// musl's own allocator is slow with many threads, and the static build has no other.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before any client is built. An error means that a provider is there already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    let exit = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::Error::new(error).context("cannot start the runtime"))
        .and_then(|runtime| {
            let exit = runtime.block_on(cli.run());
            // A thread that still waits for standard input must not hold the process.
            runtime.shutdown_background();
            exit
        })
        .unwrap_or_else(|error| Exit::of(&error));
    exit.into()
}
