//! One function per command.

use anyhow::Context as _;
use node::image::ImageService as _;

use crate::flags::{Command, DataDir, Image, ServerFlags, Verb};
use crate::server::{DataLock, Node, Running, data_dir};
use crate::{cluster, logging, server};

/// Carries out a command line.
///
/// # Errors
/// A sentence for people.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
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
    let (Image::Import { data, .. } | Image::Ls(data) | Image::Rm { data, .. }) = &command;
    // a running node may share the store: it locks its index and keeps on disk what is in use
    let store = cluster::image_store(&data_dir(data.data_dir.as_deref())?, &[])?;
    let found = match &command {
        Image::Import { file, .. } => store.import(std::path::absolute(file)?).await?,
        Image::Ls(_) => store.list(),
        Image::Rm { image, .. } => {
            store.remove(image)?;
            println!("removed {image}");
            return Ok(());
        }
    };
    println!("{:<60} {:<14} SIZE", "IMAGE", "ID");
    for image in found {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        for tag in if image.tags.is_empty() { vec!["<none>".to_owned()] } else { image.tags } {
            println!("{tag:<60} {id:<14} {}", image.size);
        }
    }
    Ok(())
}
