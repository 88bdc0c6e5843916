//! `lanyard image …`: the store of this machine's node is worked on by one process at a time. While a cluster runs, the
//! command asks it through `DIR/images.sock` (0600); otherwise it opens the store itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use document::{Value, doc, json};
use node::image::{Image, ImageService as _, ImageStore};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::cluster::image_store;
use crate::server::DataLock;

/// A request longer than this is no request.
const MAX_REQUEST: u64 = 64 << 10;

/// What is asked of the store.
pub enum Request {
    Import(PathBuf),
    List,
    Remove(String),
}

/// Carries out a request, by the running cluster if there is one. Answers the images that were imported or are there.
///
/// # Errors
/// What the store refuses, in its words.
pub async fn ask(dir: &Path, request: Request) -> anyhow::Result<Value> {
    match DataLock::take(dir) {
        Ok(_lock) => perform(&image_store(dir, &[])?, request).await,
        Err(_) => ask_running(dir, request).await,
    }
}

/// Serves requests until it is dropped.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(dir: &Path, store: ImageStore) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let path = dir.join("images.sock");
    // a socket that an earlier process left: the data lock is ours
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let store = store.clone();
            tokio::spawn(async move {
                if let Err(error) = answer(stream, &store).await {
                    tracing::warn!("image request failed: {error:#}");
                }
            });
        }
    }))
}

async fn answer(stream: UnixStream, store: &ImageStore) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(MAX_REQUEST)).read_line(&mut line).await?;
    let done = match parse(&line) {
        Ok(request) => perform(store, request).await,
        Err(error) => Err(error),
    };
    let reply = done.unwrap_or_else(|error| doc!({"error": (format!("{error:#}"))}));
    write.write_all(&json::to_vec(&reply)).await?;
    write.shutdown().await?;
    Ok(())
}

async fn ask_running(dir: &Path, request: Request) -> anyhow::Result<Value> {
    let path = dir.join("images.sock");
    let mut stream = UnixStream::connect(&path).await.with_context(|| format!("a cluster runs on {}, but it has no node to ask", dir.display()))?;
    let line = match &request {
        Request::Import(file) => doc!({"do": "import", "file": (file.to_string_lossy().into_owned())}),
        Request::List => doc!({"do": "list"}),
        Request::Remove(image) => doc!({"do": "remove", "image": (image.as_str())}),
    };
    stream.write_all(json::to_string(&line).as_bytes()).await?;
    stream.write_all(b"\n").await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    let reply = json::parse(&reply).context("the running cluster gave no answer")?;
    if let Some(error) = reply["error"].as_str() {
        bail!("{error}");
    }
    Ok(reply)
}

fn parse(line: &str) -> anyhow::Result<Request> {
    let request = json::parse(line.as_bytes()).context("not a request")?;
    match request["do"].str() {
        "import" => Ok(Request::Import(request["file"].str().into())),
        "list" => Ok(Request::List),
        "remove" => Ok(Request::Remove(request["image"].str().to_owned())),
        other => bail!("unknown request {other:?}"),
    }
}

async fn perform(store: &ImageStore, request: Request) -> anyhow::Result<Value> {
    Ok(match request {
        Request::Import(file) => Value::List(store.import(file).await?.iter().map(describe).collect()),
        Request::List => Value::List(store.list().iter().map(describe).collect()),
        Request::Remove(image) => {
            store.remove(&image)?;
            Value::List(Vec::new())
        }
    })
}

fn describe(image: &Image) -> Value {
    doc!({
        "id": (image.id.as_str()),
        "tags": (Value::list(image.tags.iter().map(String::as_str))),
        "size": (i64::try_from(image.size).unwrap_or(i64::MAX))
    })
}
