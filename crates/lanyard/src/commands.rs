//! One function per command.

use anyhow::Context as _;

use crate::flags::{Command, DataDir, Image, ServerFlags, Verb};
use crate::images::{self, Request};
use crate::server::{DataLock, Node, Running, data_dir};
use crate::{cluster, logging, server};

/// Carries out a command line.
///
/// # Errors
/// A sentence for people.
pub fn run(command: Command) -> anyhow::Result<()> {
    let (verbose, format) = match &command.verb {
        Verb::Up(up) => (up.server.verbose, up.server.logging_format.as_str()),
        Verb::Server(flags) => (flags.verbose, flags.logging_format.as_str()),
        _ => (0, "text"),
    };
    logging::start(verbose, format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        match command.verb {
            Verb::Up(up) => cluster::up(&up).await,
            Verb::Server(flags) => serve(&flags).await,
            Verb::Down(down) => cluster::down(&down).await,
            Verb::Status(data) => status(&data).await,
            Verb::Image(image) => images(image).await,
        }
    })
}

async fn serve(flags: &ServerFlags) -> anyhow::Result<()> {
    let lock = DataLock::take(&data_dir(flags.data.data_dir.as_deref())?)?;
    let running = Running::start(flags, Node::default(), lock).await?;
    server::say_ready(&running);
    server::wait_for_signal().await?;
    running.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
async fn status(data: &DataDir) -> anyhow::Result<()> {
    let dir = data_dir(data.data_dir.as_deref())?;
    if !dir.exists() {
        println!("no cluster: {} does not exist", dir.display());
        return Ok(());
    }
    let runs = DataLock::take(&dir).is_err();
    println!("data folder: {}", dir.display());
    println!("control plane: {}", if runs { "running" } else { "stopped" });
    if runs {
        println!("kubeconfig: {}", dir.join("admin.kubeconfig").display());
    }
    if dir.join("runtime").exists() {
        println!("containers: {}", cluster::count_containers(&dir)?);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
async fn images(command: Image) -> anyhow::Result<()> {
    let (data, request) = match &command {
        Image::Import { file, data } => (data, Request::Import(std::path::absolute(file)?)),
        Image::Ls(data) => (data, Request::List),
        Image::Rm { image, data } => (data, Request::Remove(image.clone())),
    };
    let found = images::ask(&data_dir(data.data_dir.as_deref())?, request).await?;
    if let Image::Rm { image, .. } = &command {
        println!("removed {image}");
        return Ok(());
    }
    println!("{:<60} {:<14} SIZE", "IMAGE", "ID");
    for image in found.items() {
        let id: String = image["id"].str().trim_start_matches("sha256:").chars().take(12).collect();
        let tags: Vec<&str> = image["tags"].items().iter().map(|t| t.str()).collect();
        for tag in if tags.is_empty() { vec!["<none>"] } else { tags } {
            println!("{tag:<60} {id:<14} {}", image["size"].as_i64().unwrap_or(0));
        }
    }
    Ok(())
}
