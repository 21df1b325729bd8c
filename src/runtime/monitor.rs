//! The monitoring port: HTTP on a thread of its own.
//!
//! It asks control one question at a time, and only what it has the answer of in time is sent; so whoever polls, however
//! often and however slowly they read, costs shards and control no more than one poller does. Everything that a peer
//! can use up is bounded: connections, the size and the time of a request, the time of an answer and of its way out.
//! What is at a path is not known here ([`crate::control::endpoints`]).

mod patient;

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HOST, HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::log::Log;
use super::ports_file::Listening;
use super::sockets::{self, unmapped};
use super::system_client::{Inquirer, Question};
use super::tls::Tls;
use crate::config::{Config, MonitorOptions};
use crate::control::endpoints::{BasePath, Endpoint, Reply, Route};
use crate::control::page;
use patient::Patient;

/// Connections at a time; others wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// How long a handshake, or the head of a request, may take; as long is waited for the next request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines of it.
const HEAD_LINES_MAX: usize = 100;
/// How long an answer may take, with the wait for those before it.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long a peer may take none of the bytes that there are for it.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// From this size on, an answer is a large one …
const LARGE_BYTES: usize = 1024 * 1024;
/// … of which so many may be on their way. Who comes on top is told so.
const LARGE_MAX: usize = 8;
/// How long to wait after accepting has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// TLS as it is now; whoever reads its files again puts it here.
pub type CurrentTls = Arc<Mutex<Arc<Tls>>>;

/// A socket that is listened on, before anybody is answered.
pub struct Door {
    listener: TcpListener,
    listening: Listening,
    tls: Option<CurrentTls>,
    base_path: BasePath,
}

impl Door {
    /// Listens where the configuration says; `None` where it says nothing.
    ///
    /// # Errors
    /// It cannot be listened there; the text is nats-server's.
    pub fn open(
        config: &Config,
        tls: Option<CurrentTls>,
        log: &Log,
    ) -> Result<Option<Self>, String> {
        let MonitorOptions {
            host,
            http,
            https,
            base_path,
        } = &config.monitor;
        let (protocol, port, tls) = match (http, https) {
            (Some(port), _) => ("http", port, None),
            (None, Some(port)) => ("https", port, tls),
            (None, None) => return Ok(None),
        };
        let host = host.as_ref().unwrap_or(&config.host);
        let cannot = |error| format!("can't listen to the monitor port: {error}");
        let listener = sockets::listen(host, port.bind_number()).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let port = address.port();
        let shown = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        log.info(format_args!(
            "Starting {protocol} monitor on {shown}:{port}"
        ));
        Ok(Some(Self {
            listener,
            listening: Listening {
                scheme: protocol,
                address,
            },
            tls,
            base_path: BasePath::new(base_path),
        }))
    }

    /// Where it is.
    pub fn listening(&self) -> Listening {
        self.listening
    }

    /// Starts the thread, which ends with the process.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn serve(self, inquirer: Inquirer, log: Log) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let listener = {
            // It must be known to the runtime.
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener)?
        };
        let port = Arc::new(Port {
            base_path: self.base_path,
            tls: self.tls,
            inquirer,
            turn: Arc::new(Semaphore::new(1)),
            large: Arc::new(Semaphore::new(LARGE_MAX)),
        });
        std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || runtime.block_on(accept(listener, port, log)))?;
        Ok(())
    }
}

/// What all connections share.
struct Port {
    base_path: BasePath,
    tls: Option<CurrentTls>,
    inquirer: Inquirer,
    /// Whose turn it is to ask.
    turn: Arc<Semaphore>,
    /// Places for large answers.
    large: Arc<Semaphore>,
}

/// A large answer, with its place.
struct Large {
    body: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

async fn accept(listener: tokio::net::TcpListener, port: Arc<Port>, log: Log) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut failed = false;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((socket, _)) => {
                failed = false;
                // Answers are written as a whole; without it nothing is worse.
                let _ = socket.set_nodelay(true);
                tokio::spawn(serve(socket, Arc::clone(&port), place));
            }
            Err(error) => {
                if !failed {
                    log.error(format_args!("monitoring: accept error: {error}"));
                }
                failed = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it ends. Why it does concerns the peer alone.
async fn serve(socket: tokio::net::TcpStream, port: Arc<Port>, place: OwnedSemaphorePermit) {
    match port.tls.as_ref().map(acceptor) {
        None => converse(socket, port).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = timeout(HEAD_TIME, acceptor.accept(socket)).await {
                converse(stream, port).await;
            }
        }
    }
    drop(place);
}

fn acceptor(tls: &CurrentTls) -> TlsAcceptor {
    let tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
    TlsAcceptor::from(Arc::clone(&tls.unverified))
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, port: Arc<Port>) {
    let service = service_fn(move |request| {
        let port = Arc::clone(&port);
        async move { Ok::<_, Infallible>(port.answer(&request).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_LINES_MAX)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIME)), service)
        .await;
}

impl Port {
    /// Whatever the method is, as in nats-server; a body is not read.
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let uri = request.uri();
        if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
            return response(Reply::text(
                400,
                "400 Bad Request: missing required Host header",
            ));
        }
        let query = uri.query().unwrap_or_default();
        match self.base_path.route(uri.path()) {
            Route::NotFound => response(Reply::not_found()),
            Route::Redirect(to) => redirect(&to, query),
            Route::File(name) => match page::file(&name) {
                Some(file) => of_page(file),
                None => response(Reply::not_found()),
            },
            Route::Endpoint(Endpoint::Root) => {
                // It is counted there, but is the same even where nobody answers.
                self.ask(Endpoint::Root, "", "").await;
                of_page(page::INDEX)
            }
            Route::Endpoint(endpoint) => {
                let accepted = request.headers().get(ACCEPT);
                let accepted = accepted.and_then(|value| value.to_str().ok());
                let query = uri.query().unwrap_or_default();
                let reply = self.ask(endpoint, query, accepted.unwrap_or_default());
                self.bounded(reply.await)
            }
        }
    }

    /// An answer with a place, if it needs one.
    fn bounded(&self, mut reply: Reply) -> Response<Full<Bytes>> {
        if reply.body.len() < LARGE_BYTES {
            return response(reply);
        }
        match Arc::clone(&self.large).try_acquire_owned() {
            Ok(place) => {
                let body = std::mem::take(&mut reply.body);
                let body = Bytes::from_owner(Large {
                    body,
                    _place: place,
                });
                response(reply).map(|_| Full::new(body))
            }
            Err(_) => response(Reply::text(
                503,
                "too many large answers are on their way\n",
            )),
        }
    }

    async fn ask(&self, endpoint: Endpoint, query: &str, accepted: &str) -> Reply {
        let asked = async {
            // Given back when the question is answered, and not when nobody waits for that any more.
            let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
            let (answer, answered) = tokio::sync::oneshot::channel();
            self.inquirer.ask(Question {
                endpoint,
                query: query.to_owned(),
                accepted: accepted.to_owned(),
                answer,
                turn,
            });
            answered.await.ok()
        };
        match timeout(ANSWER_TIME, asked).await {
            Ok(Some(reply)) => reply,
            Ok(None) | Err(_) => Reply::text(503, "the server is busy or being stopped\n"),
        }
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let Reply {
        status,
        content_type,
        body,
        is_public,
        ..
    } = reply;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_public {
        let all = HeaderValue::from_static("*");
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, all);
    }
    response
}

fn of_page(file: page::File) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(file.body)));
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, file.content_type),
        (CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn redirect(to: &str, query: &str) -> Response<Full<Bytes>> {
    let mut reply = response(Reply::text(307, ""));
    let mark = if query.is_empty() { "" } else { "?" };
    // A path that was asked for has no characters that a header may not have.
    if let Ok(to) = HeaderValue::from_str(&format!("{to}{mark}{query}")) {
        reply.headers_mut().insert(LOCATION, to);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel may take no more than a slow reader takes within the time that it has.
    #[test]
    fn sockets_take_little() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let _peer = std::net::TcpStream::connect(address).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            prepare(&socket);
            let mut bytes: libc::c_int = 0;
            let mut size = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the value and its size live through the call.
            let result = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_SNDBUF,
                    (&raw mut bytes).cast(),
                    &raw mut size,
                )
            };
            assert_eq!((result, bytes), (0, 2 * SEND_BUFFER_BYTES));
        });
    }
}
