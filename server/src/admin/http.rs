//! HTTP/1.1 as far as it is served: one GET a connection, a bounded head, no body.

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::io;

/// The most bytes of a request line with its headers.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most headers.
const HEADERS_MAX: usize = 64;
/// How much of what a client still sends is read after the answer, so that it sees the answer and not a reset.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The path, as it was sent.
    pub(super) path: String,
    /// What stood behind the question mark.
    pub(super) query: String,
    /// The header `Authorization`.
    pub(super) authorization: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Response {
    /// An answer without a result: JSON with the reason.
    pub(super) fn error(status: u16, what: impl Into<String>) -> Self {
        let report = super::report::ErrorReport { error: what.into() };
        Self::json(status, &report)
    }

    /// A result as JSON.
    pub(super) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(mut body) => {
                body.push('\n');
                Self {
                    status,
                    content_type: "application/json",
                    body,
                }
            }
            Err(error) => Self {
                status: 500,
                content_type: "text/plain; charset=utf-8",
                body: format!("the answer has no JSON form: {error}\n"),
            },
        }
    }

    fn head(&self) -> String {
        let Self {
            status,
            content_type,
            body,
        } = self;
        let reason = reason(*status);
        let more = match status {
            401 => "WWW-Authenticate: Bearer\r\n",
            405 => "Allow: GET\r\n",
            _ => "",
        };
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{more}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        )
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Reads a request. What cannot be served is an answer already.
///
/// # Errors
/// The connection broke, or ended before the request did.
pub(super) async fn read_request<R: AsyncRead + Unpin>(
    stream: &mut R,
) -> io::Result<Result<Request, Response>> {
    let mut head = Vec::with_capacity(1024);
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(parsed) = parse(&head) {
            return Ok(parsed);
        }
        if head.len() >= HEAD_BYTES_MAX {
            let what = format!("the request line and headers exceed {HEAD_BYTES_MAX} bytes");
            return Ok(Err(Response::error(431, what)));
        }
    }
}

/// The request of a head; nothing while the head is not whole.
fn parse(head: &[u8]) -> Option<Result<Request, Response>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => Some(accept(&request)),
        Err(httparse::Error::TooManyHeaders) => {
            let what = format!("more than {HEADERS_MAX} headers");
            Some(Err(Response::error(431, what)))
        }
        Err(httparse::Error::Version) => Some(Err(Response::error(505, "only HTTP/1.1 is spoken here"))),
        Err(error) => Some(Err(Response::error(400, format!("not an HTTP request: {error}")))),
    }
}

fn accept(request: &httparse::Request<'_, '_>) -> Result<Request, Response> {
    if request.method != Some("GET") {
        return Err(Response::error(405, "only GET is served here"));
    }
    let target = request.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err(Response::error(400, "the request names no path"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut authorizations = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("authorization"));
    let authorization = authorizations
        .next()
        .map(|header| String::from_utf8_lossy(header.value).into_owned());
    if authorizations.next().is_some() {
        return Err(Response::error(400, "more than one Authorization header"));
    }
    Ok(Request {
        path: path.to_owned(),
        query: query.to_owned(),
        authorization,
    })
}

/// Writes an answer.
///
/// # Errors
/// The connection broke.
pub(super) async fn write_response<W: AsyncWrite + Unpin>(
    stream: &mut W,
    response: &Response,
) -> io::Result<()> {
    stream.write_all(response.head().as_bytes()).await?;
    stream.write_all(response.body.as_bytes()).await?;
    stream.flush().await
}

/// Reads what the client still sends, until it closes its side or has sent too much.
///
/// # Errors
/// The connection broke.
pub(super) async fn linger<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<()> {
    let mut scratch = [0; 4096];
    let mut rest = LINGER_BYTES_MAX;
    while rest > 0 {
        match stream.read(&mut scratch).await? {
            0 => return Ok(()),
            count => rest = rest.saturating_sub(count),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use futures_lite::io::Cursor;

    fn read(bytes: &[u8]) -> io::Result<Result<Request, Response>> {
        block_on(read_request(&mut Cursor::new(bytes.to_vec())))
    }

    fn status(bytes: &[u8]) -> u16 {
        read(bytes).expect("whole").expect_err("refused").status
    }

    #[test]
    fn a_request_is_its_path_its_query_and_its_authorization() {
        let bytes = b"GET /v1/nodes?x=1&y HTTP/1.1\r\nHost: a\r\naUTHORIZATION: Bearer t\r\n\r\n";
        let expected = Request {
            path: "/v1/nodes".into(),
            query: "x=1&y".into(),
            authorization: Some("Bearer t".into()),
        };
        assert_eq!(read(bytes).unwrap(), Ok(expected));
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_status() {
        assert_eq!(status(b"POST / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400);
        assert_eq!(status(b"GET / HTTP/3.0\r\n\r\n"), 505);
        assert_eq!(status(b"GET example.com:80 HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\nA b: c\r\n\r\n"), 400);
        let twice = b"GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n";
        assert_eq!(status(twice), 400);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(status(many.as_bytes()), 431);
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(10 * HEAD_BYTES_MAX));
        assert_eq!(status(long.as_bytes()), 431);
    }

    #[test]
    fn a_request_that_ends_early_is_no_request() {
        for part in [&b""[..], b"GET", b"GET / HTTP/1.1\r\nHost: a\r\n"] {
            assert!(read(part).is_err());
        }
    }

    #[test]
    fn any_bytes_are_a_request_a_refusal_or_not_whole() {
        let seed = 1;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let good = b"GET /v1/nodes?x=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer abc\r\n\r\n";
        for _ in 0..20_000 {
            let mut bytes = good.to_vec();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            let _ = read(&bytes);
        }
    }

    #[test]
    fn an_answer_says_its_length_and_closes() {
        let response = Response::error(405, "no");
        let head = response.head();
        assert!(
            head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        for header in ["Allow: GET", "Connection: close", "Content-Length: 15"] {
            assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
        }
        assert_eq!(response.body, "{\"error\":\"no\"}\n");
    }
}
