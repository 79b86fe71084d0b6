//! Two machines far apart: network namespaces with a long, lossy link between them (`scripts/wan.py`).
//! Needs root.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use rustix::net::sockopt::set_tcp_congestion;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use skyhaul_gateway::world::Network;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[derive(Debug, Deserialize)]
struct End {
    namespace: PathBuf,
    address: String,
}

#[derive(Debug, Deserialize)]
struct Ends {
    near: End,
    far: End,
}

/// The link, as long as this lives.
pub(crate) struct Wan {
    process: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
    ends: Ends,
}

impl Wan {
    /// A link with these options of `scripts/wan.py`.
    pub(crate) fn up(options: &[&str]) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut process = Command::new("python3")
            .arg(root.join("scripts/wan.py"))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let mut replies = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        replies.read_line(&mut line).unwrap();
        let ends = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("no link: network namespaces need root and /dev/net/tun"));
        Self {
            process,
            commands,
            replies,
            ends,
        }
    }

    /// Cuts the link (`cut`) or mends it (`heal`); it is so on return.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), command);
    }

    pub(crate) fn near(&self) -> Machine {
        Machine::new(&self.ends.near)
    }

    pub(crate) fn far(&self) -> Machine {
        Machine::new(&self.ends.far)
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::TERM,
        );
        let _ = self.process.wait();
    }
}

/// The network of a machine at one end.
#[derive(Clone)]
pub(crate) struct Machine {
    namespace: Arc<std::fs::File>,
    address: SocketAddr,
    /// Bytes that are still read; then nothing more is.
    reads: Arc<AtomicU64>,
}

impl Machine {
    fn new(end: &End) -> Self {
        Self {
            namespace: Arc::new(std::fs::File::open(&end.namespace).unwrap()),
            address: SocketAddr::new(end.address.parse().unwrap(), 0),
            reads: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// A machine here that stops reading after so many bytes, and goes on with all else.
    pub(crate) fn stopping_after(&self, bytes: u64) -> Self {
        Self {
            reads: Arc::new(AtomicU64::new(bytes)),
            ..self.clone()
        }
    }

    /// Where to listen.
    pub(crate) fn any(&self) -> SocketAddr {
        self.address
    }

    /// A socket is of the namespace that its thread is in when it is made.
    fn socket(&self) -> io::Result<TcpSocket> {
        let made = std::thread::scope(|scope| {
            let enter = || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.namespace.as_fd(), kind)?;
                TcpSocket::new_v4()
            };
            scope.spawn(enter).join().unwrap()
        })?;
        set_tcp_congestion(&made, "cubic")?;
        made.set_nodelay(true)?;
        Ok(made)
    }
}

#[async_trait]
impl Network for Machine {
    type Stream = Stream;
    type Reader = Reader;
    type Writer = OwnedWriteHalf;
    type Listener = TcpListener;

    async fn listen(&self, at: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let socket = self.socket()?;
        socket.bind(at)?;
        let listener = socket.listen(1_024)?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(Stream, SocketAddr)> {
        let (stream, from) = listener.accept().await?;
        Ok((Stream(stream, Arc::clone(&self.reads)), from))
    }

    async fn connect(&self, address: &str) -> io::Result<Stream> {
        let address = address.parse().map_err(io::Error::other)?;
        let stream = self.socket()?.connect(address).await?;
        Ok(Stream(stream, Arc::clone(&self.reads)))
    }

    fn split(stream: Stream) -> (Reader, OwnedWriteHalf) {
        let (reader, writer) = stream.0.into_split();
        (Reader(reader, stream.1), writer)
    }
}

/// A connection of a machine.
pub(crate) struct Stream(TcpStream, Arc<AtomicU64>);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What a machine reads of a connection.
pub(crate) struct Reader(OwnedReadHalf, Arc<AtomicU64>);

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.1.load(Ordering::Relaxed) == 0 {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        let bytes = (buffer.filled().len() - before) as u64;
        let less = |left: u64| Some(left.saturating_sub(bytes));
        let _ = (self.1).fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        read
    }
}
