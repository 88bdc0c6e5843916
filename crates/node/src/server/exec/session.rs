//! One exec: bytes between the websocket and the process until the process has ended and its output is told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use document::{Value, json};
use futures::{SinkExt, StreamExt, future::BoxFuture, stream::SplitStream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_util::sync::CancellationToken;

use super::{Socket, outcome};
use crate::runtime::{BoxRead, BoxWrite, ExecControl, ExecSpec, PodRuntime};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const OUTCOME: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// After the process has ended its output may be held open by a child: it gets this long.
const DRAIN: Duration = Duration::from_secs(2);
/// How long we wait for the client's close.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the client sent for the process.
enum Input {
    Data(Bytes),
    End,
}

pub(super) async fn run(socket: Socket, v5: bool, runtime: &dyn PodRuntime, container: &str, spec: &ExecSpec) {
    let (mut sink, stream) = socket.split();
    // an empty message tells the client that the session stands
    let first = if spec.stdout {
        STDOUT
    } else if spec.stderr {
        STDERR
    } else {
        OUTCOME
    };
    if sink.send(frame(first, &[])).await.is_err() {
        return;
    }
    let mut session = match runtime.exec(container, spec).await {
        Ok(session) => session,
        Err(error) => {
            tell(&mut sink, outcome(&spec.command, Err(error.to_string()))).await;
            return;
        }
    };
    let (output, mut outgoing) = mpsc::channel::<Message>(16);
    let pumps = [(STDOUT, session.stdout.take()), (STDERR, session.stderr.take())];
    let pumps: Vec<_> = pumps
        .into_iter()
        .filter_map(|(channel, source)| Some(tokio::spawn(pump(channel, source?, output.clone()))))
        .collect();
    drop(output);
    let (input, received) = mpsc::channel(16);
    let writer = tokio::spawn(feed(session.stdin.take(), received));
    let gone = CancellationToken::new();
    // in a task of its own: a process that does not read must not keep its output from the client
    let mut reader = tokio::spawn(listen(stream, v5, input, session.control.clone(), gone.clone()));
    let ended = relay(&mut sink, &mut outgoing, &mut session.exit, &gone).await;
    writer.abort();
    pumps.iter().for_each(tokio::task::JoinHandle::abort);
    match ended {
        Some(ended) => {
            tell(&mut sink, outcome(&spec.command, ended)).await;
            // what the client still sends is read, lest a reset swallows what was told
            let _ = tokio::time::timeout(FAREWELL, &mut reader).await;
        }
        None => session.control.kill(),
    }
    reader.abort();
}

/// Output to the client until the process has ended and its streams too; `None`: the client went away.
async fn relay<S: futures::Sink<Message> + Unpin>(
    sink: &mut S,
    outgoing: &mut mpsc::Receiver<Message>,
    exit: &mut BoxFuture<'static, crate::runtime::Result<i32>>,
    gone: &CancellationToken,
) -> Option<Result<i32, String>> {
    let mut ended = None;
    let mut deadline = None;
    loop {
        tokio::select! {
            code = &mut *exit, if ended.is_none() => {
                ended = Some(code.map_err(|e| e.to_string()));
                deadline = Some(tokio::time::Instant::now() + DRAIN);
            }
            message = outgoing.recv() => match message {
                Some(message) => {
                    // a client may read slowly for as long as it likes, but not once it is gone
                    tokio::select! {
                        sent = sink.send(message) => sent.ok()?,
                        () = gone.cancelled() => return None,
                    }
                    // as long as something comes it is waited for
                    deadline = deadline.map(|_| tokio::time::Instant::now() + DRAIN);
                }
                // both streams are at their end
                None => return match ended {
                    Some(ended) => Some(ended),
                    None => tokio::select! {
                        code = exit => Some(code.map_err(|e| e.to_string())),
                        () = gone.cancelled() => None,
                    },
                },
            },
            () = gone.cancelled() => return None,
            () = until(deadline) => return ended,
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The outcome, then a close.
async fn tell<S: futures::Sink<Message> + Unpin>(sink: &mut S, outcome: Value) {
    // a client that is gone misses nothing
    let _ = sink.send(frame(OUTCOME, &json::to_vec(&outcome))).await;
    // without a code Go's client takes the close for a failure
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sink.send(Message::Close(Some(normal))).await;
    let _ = sink.close().await;
}

/// What the client sends, until it closes or is gone.
async fn listen(
    mut stream: SplitStream<Socket>,
    v5: bool,
    input: mpsc::Sender<Input>,
    control: Arc<dyn ExecControl>,
    gone: CancellationToken,
) {
    let mut input = Some(input);
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Binary(data) => receive(&data, v5, &mut input, &*control).await,
            Message::Text(text) => receive(text.as_bytes(), v5, &mut input, &*control).await,
            Message::Close(_) => break,
            _ => {}
        }
    }
    gone.cancel();
}

async fn receive(data: &[u8], v5: bool, input: &mut Option<mpsc::Sender<Input>>, control: &dyn ExecControl) {
    let Some((channel, rest)) = data.split_first() else { return };
    match *channel {
        STDIN if !rest.is_empty() => {
            if let Some(sender) = input
                && sender.send(Input::Data(Bytes::copy_from_slice(rest))).await.is_err()
            {
                *input = None;
            }
        }
        RESIZE => {
            if let Some((columns, rows)) = size(rest)
                && let Err(error) = control.resize(columns, rows)
            {
                tracing::debug!(%error, "failed to resize a terminal");
            }
        }
        CLOSE if v5 && rest.first() == Some(&STDIN) => {
            if let Some(sender) = input.take() {
                // the process may have closed its stdin already
                let _ = sender.send(Input::End).await;
            }
        }
        _ => {}
    }
}

fn size(text: &[u8]) -> Option<(u16, u16)> {
    let size: serde_json::Value = serde_json::from_slice(text).ok()?;
    let number = |name: &str| size[name].as_u64().and_then(|n| u16::try_from(n).ok());
    Some((number("Width")?, number("Height")?))
}

async fn feed(stdin: Option<BoxWrite>, mut received: mpsc::Receiver<Input>) {
    let Some(mut stdin) = stdin else {
        while received.recv().await.is_some() {}
        return;
    };
    while let Some(Input::Data(data)) = received.recv().await {
        let written = async {
            stdin.write_all(&data).await?;
            stdin.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
    // dropping it closes it; a failure to say so is the process's own end
    let _ = stdin.shutdown().await;
}

async fn pump(channel: u8, mut source: BoxRead, out: mpsc::Sender<Message>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match source.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) if out.send(frame(channel, &buffer[..n])).await.is_err() => return,
            Ok(_) => {}
        }
    }
}

fn frame(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}
