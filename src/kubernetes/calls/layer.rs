//! The layer of the client that counts.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tower::{Layer, Service};

use super::Call;
use super::record::note;

/// Counts what goes through it.
#[derive(Clone, Debug)]
pub(in crate::kubernetes) struct Counting {
    own: Option<Arc<str>>,
}

impl Counting {
    /// Counts the calls of a walproof that runs in the namespace `own`, if in any.
    pub(in crate::kubernetes) fn new(own: Option<&str>) -> Self {
        Self {
            own: own.map(Arc::from),
        }
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            own: self.own.clone(),
        }
    }
}

/// A service whose calls are counted.
#[derive(Debug)]
pub(in crate::kubernetes) struct Counted<S> {
    inner: S,
    own: Option<Arc<str>>,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    A: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = Call::read(request.method(), request.uri());
        let own = self.own.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            note(&call, code, own.as_deref());
            answer
        })
    }
}
