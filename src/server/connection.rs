//! Connections within limits: how many, how long a request may take to arrive and an answer
//! to leave, how large a request is. hyper has limits of its own for some of this, but only
//! with a timer that axum does not give it.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// The limits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    /// Without a request, it is closed after this long.
    pub(super) idle: Duration,
    /// A request must have arrived and its answer have begun within this; an answer must
    /// leave within this from one write to the next.
    pub(super) request: Duration,
    /// A request is at most this large, in bytes.
    pub(super) request_bytes: usize,
}

/// Accepts at most so many connections at once; others wait in the kernel's queue.
#[derive(Debug)]
pub(super) struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    limits: ConnectionLimits,
}

impl Limited {
    pub(super) fn new(listener: TcpListener, places: usize, limits: ConnectionLimits) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(places)),
            limits,
        }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                std::future::pending::<()>().await;
                continue;
            };
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let connection = Connection {
                stream,
                limits: self.limits,
                read: 0,
                deadline: Box::pin(sleep(self.limits.idle)),
                _place: place,
            };
            return (connection, address);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends itself when a limit is passed.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    limits: ConnectionLimits,
    /// Bytes of the request so far; 0 between requests.
    read: usize,
    deadline: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn allow(&mut self, time: Duration) {
        self.deadline.as_mut().reset(Instant::now() + time);
    }

    /// An error once the deadline has passed; else the task is woken when it does.
    fn on_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn wrote(
        &mut self,
        result: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.read = 0;
                self.allow(self.limits.idle);
                Poll::Ready(Ok(bytes))
            }
            Poll::Pending => {
                if self.read == 0 {
                    // Between two writes of one answer: as long as a request may take.
                    let latest = Instant::now() + self.limits.request;
                    if self.deadline.deadline() > latest {
                        self.deadline.as_mut().reset(latest);
                    }
                }
                self.on_time(context)?;
                Poll::Pending
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(context, buffer) else {
            this.on_time(context)?;
            return Poll::Pending;
        };
        result?;
        if this.read == 0 {
            this.allow(this.limits.request);
        } else {
            this.on_time(context)?;
        }
        this.read += buffer.filled().len() - before;
        if this.read > this.limits.request_bytes {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
