//! What containers print.

use std::pin::Pin;

use chrono::{DateTime, Utc};
use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, LogParams};

use super::{Kube, KubeError, KubeErrorKind, PodRef};

/// The longest line that is kept, in bytes; the rest of a longer one is dropped.
pub const MAX_LINE: usize = 64 * 1024;
/// The most bytes that [`read`] asks for.
pub const MAX_READ: i64 = 4 * 1024 * 1024;

/// One line of a container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When the container's runtime read it.
    pub at: Option<DateTime<Utc>>,
    /// The line, without its end. What is not UTF-8 is replaced.
    pub text: String,
    /// Whether it was longer than [`MAX_LINE`].
    pub cut: bool,
}

/// The lines of a container's log from `since` on (all of it when absent), until the
/// container ends. Before the container has started this is an error that
/// [`KubeError::is_not_started`] knows. The API counts `since` in whole seconds, so some
/// lines before it may come again.
pub async fn follow(
    kube: &Kube,
    pod: &PodRef,
    since: Option<DateTime<Utc>>,
) -> Result<impl Stream<Item = Result<LogLine, KubeError>> + Send + Unpin + use<>, KubeError> {
    let parameters = LogParams {
        follow: true,
        since_time: since.and_then(|at| Timestamp::from_second(at.timestamp()).ok()),
        ..parameters(pod)
    };
    open(kube, pod, parameters, format!("follow the log of {pod}")).await
}

/// The lines that a container has printed by now: at most the last `tail`, and at most
/// [`MAX_READ`] bytes. `previous` asks for the container before its last restart.
pub async fn read(
    kube: &Kube,
    pod: &PodRef,
    tail: u32,
    previous: bool,
) -> Result<Vec<LogLine>, KubeError> {
    let parameters = LogParams {
        tail_lines: Some(i64::from(tail)),
        limit_bytes: Some(MAX_READ),
        previous,
        ..parameters(pod)
    };
    let action = format!("read the log of {pod}");
    let work = async {
        let mut lines = open(kube, pod, parameters, action.clone()).await?;
        let mut read = Vec::new();
        while let Some(line) = lines.next().await {
            read.push(line?);
        }
        Ok(read)
    };
    match tokio::time::timeout(Kube::REQUEST_TIMEOUT, work).await {
        Ok(read) => read,
        Err(_) => Err(KubeError::new(
            KubeErrorKind::Timeout,
            &action,
            "the log did not come to its end in time",
        )),
    }
}

fn parameters(pod: &PodRef) -> LogParams {
    LogParams {
        container: pod.container.clone(),
        timestamps: true,
        ..LogParams::default()
    }
}

async fn open(
    kube: &Kube,
    pod: &PodRef,
    parameters: LogParams,
    action: String,
) -> Result<impl Stream<Item = Result<LogLine, KubeError>> + Send + Unpin + use<>, KubeError> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), &pod.namespace);
    let log = kube
        .call(action.clone(), pods.log_stream(&pod.pod, &parameters))
        .await?;
    Ok(lines(log, action))
}

/// Lines of bounded length out of any source.
fn lines<R: AsyncBufRead + Send + 'static>(
    source: R,
    action: String,
) -> impl Stream<Item = Result<LogLine, KubeError>> + Send + Unpin {
    let source = Some(Box::pin(source));
    Box::pin(stream::unfold(
        (source, action),
        async |(source, action)| {
            let mut source = source?;
            match next_line(source.as_mut()).await {
                Ok(Some((bytes, cut))) => Some((Ok(line(&bytes, cut)), (Some(source), action))),
                Ok(None) => None,
                Err(error) => {
                    let error = KubeError::new(
                        KubeErrorKind::Unreachable,
                        &action,
                        format!("the log broke off: {error}"),
                    );
                    Some((Err(error), (None, action)))
                }
            }
        },
    ))
}

/// The next line without its end, and whether it was cut; none at the end.
async fn next_line<R: AsyncBufRead>(
    mut source: Pin<&mut R>,
) -> std::io::Result<Option<(Vec<u8>, bool)>> {
    let mut line = Vec::new();
    let mut any = false;
    let mut cut = false;
    loop {
        let buffer = source.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(any.then_some((line, cut)));
        }
        any = true;
        let end = memchr::memchr(b'\n', buffer);
        let text = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
        let room = MAX_LINE.saturating_sub(line.len());
        cut |= text.len() > room;
        line.extend(text.iter().take(room));
        let used = end.map_or(buffer.len(), |end| end + 1);
        source.as_mut().consume_unpin(used);
        if end.is_some() {
            return Ok(Some((line, cut)));
        }
    }
}

/// A line as the API gives it with `timestamps`: a moment (RFC 3339), a space, the text.
fn line(bytes: &[u8], cut: bool) -> LogLine {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    let parted = text.split_once(' ').and_then(|(moment, rest)| {
        let at = DateTime::parse_from_rfc3339(moment).ok()?;
        Some((at.with_timezone(&Utc), rest))
    });
    LogLine {
        at: parted.map(|(at, _)| at),
        text: parted.map_or(text, |(_, rest)| rest).to_owned(),
        cut,
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use futures::io::{BufReader, Cursor};

    use super::*;

    async fn all(text: &[u8]) -> Vec<LogLine> {
        let source = BufReader::with_capacity(7, Cursor::new(text.to_vec()));
        lines(source, "read".to_owned())
            .try_collect()
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn lines_carry_their_moment() {
        let read = all(b"2026-11-22T08:00:00.123456789Z restored log file\n2026-11-22T08:00:01Z \nno moment\nlast").await;
        let texts: Vec<&str> = read.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["restored log file", "", "no moment", "last"]);
        let at = read[0].at.unwrap();
        assert_eq!(at.timestamp_subsec_nanos(), 123_456_789);
        assert!(read[1].at.is_some());
        assert_eq!(read[2].at, None);
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_is_whole() {
        let mut text = vec![b'x'; MAX_LINE + 10];
        text.extend(b"\nnext\n");
        let read = all(&text).await;
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].text.len(), read[0].cut), (MAX_LINE, true));
        assert_eq!((read[1].text.as_str(), read[1].cut), ("next", false));
        let mut text = vec![b'x'; MAX_LINE];
        text.push(b'\n');
        assert!(!all(&text).await[0].cut);
    }

    #[tokio::test]
    async fn an_empty_log_has_no_lines() {
        assert!(all(b"").await.is_empty());
        assert_eq!(all(b"\n").await.len(), 1);
    }

    #[tokio::test]
    async fn what_is_not_text_is_replaced() {
        assert_eq!(all(b"a\xffb\n").await[0].text, "a\u{fffd}b");
    }
}
