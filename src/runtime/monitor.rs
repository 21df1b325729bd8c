//! The monitoring port: HTTP on a thread of its own.
//!
//! It asks control one question at a time, and only what it has the answer of in time is sent; so whoever polls, however
//! often and however slowly they read, costs shards and control no more than one poller does. Checks of the health wait for
//! each other but not for other polls, and those that need no shard for nobody; they are answered from the start on.
//! Everything that a peer can use up is bounded: connections ([`guests`]), the size and the time of a request, the time of an
//! answer and of its way out. What is at a path is not known here ([`crate::control::endpoints`]).

mod guests;
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
use hyper::{Request, Response, StatusCode, Version};
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
use crate::control::endpoints::{BasePath, Endpoint, Reply, Route, health_at_once};
use crate::control::page;
use guests::{Guests, Visit};
use patient::Patient;

/// Connections at a time. For another one an idle one has to go; where none is, it waits.
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
/// Bytes that the kernel takes beyond those that the peer has room for; it doubles the number. With more of them, one that
/// reads slowly, but reads, would look as if it took nothing for all of [`WRITE_TIME`].
const SEND_BUFFER_BYTES: libc::c_int = 64 * 1024;
/// From this size on, an answer is a large one …
const LARGE_BYTES: usize = 1024 * 1024;
/// … of which so many may be on their way. Who comes on top is told so.
const LARGE_MAX: usize = 8;
/// How long to wait after accepting has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the server is at, as far as everybody may know without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Stores are read, and nobody is answered.
    Starting,
    Serving,
    /// No new clients are taken any more.
    LameDuck,
}

/// The phase now, for the threads that ask and those that say.
#[derive(Clone, Debug)]
pub struct CurrentPhase(Arc<AtomicU8>);

impl CurrentPhase {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Phase::Starting as u8)))
    }

    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    fn get(&self) -> Phase {
        const SERVING: u8 = Phase::Serving as u8;
        const STARTING: u8 = Phase::Starting as u8;
        match self.0.load(Ordering::Acquire) {
            STARTING => Phase::Starting,
            SERVING => Phase::Serving,
            _ => Phase::LameDuck,
        }
    }
}

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
    pub fn serve(self, inquirer: Inquirer, phase: CurrentPhase, log: Log) -> io::Result<()> {
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
            phase,
            log,
            turn: Arc::new(Semaphore::new(1)),
            health_turn: Arc::new(Semaphore::new(1)),
            large: Arc::new(Semaphore::new(LARGE_MAX)),
        });
        std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || runtime.block_on(accept(listener, port)))?;
        Ok(())
    }
}

/// What all connections share.
struct Port {
    base_path: BasePath,
    tls: Option<CurrentTls>,
    inquirer: Inquirer,
    phase: CurrentPhase,
    log: Log,
    /// Whose turn it is to ask.
    turn: Arc<Semaphore>,
    /// Whose turn it is to ask whether all is well: with one of its own, that comes next, whoever waits.
    health_turn: Arc<Semaphore>,
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

async fn accept(listener: tokio::net::TcpListener, port: Arc<Port>) {
    let guests = Guests::new(CONNECTIONS_MAX);
    let mut failed = false;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                failed = false;
                prepare(&socket);
                let visit = guests.enter(unmapped(peer.ip())).await;
                tokio::spawn(serve(socket, Arc::clone(&port), visit));
            }
            Err(error) => {
                if !failed {
                    port.log
                        .error(format_args!("monitoring: accept error: {error}"));
                }
                failed = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Sets what a connection's socket is to be like. Where it cannot be, little is worse.
fn prepare(socket: &tokio::net::TcpStream) {
    // Answers are written as a whole.
    let _ = socket.set_nodelay(true);
    let (level, option) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
    let _ = sockets::set(socket.as_raw_fd(), level, option, SEND_BUFFER_BYTES);
}

/// Serves one connection until it ends, or has to go for another one. Why it does concerns the peer alone.
async fn serve(socket: tokio::net::TcpStream, port: Arc<Port>, visit: Visit) {
    let visit = Arc::new(visit);
    let own = Arc::clone(&visit);
    let mut served = pin!(async {
        match port.tls.as_ref().map(acceptor) {
            None => converse(socket, port, own).await,
            Some(acceptor) => {
                if let Ok(Ok(stream)) = timeout(HEAD_TIME, acceptor.accept(socket)).await {
                    converse(stream, port, own).await;
                }
            }
        }
    });
    let mut is_over = pin!(visit.is_over());
    std::future::poll_fn(|context| match is_over.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => served.as_mut().poll(context),
    })
    .await;
}

fn acceptor(tls: &CurrentTls) -> TlsAcceptor {
    let tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
    TlsAcceptor::from(Arc::clone(&tls.unverified))
}

async fn converse<S>(stream: S, port: Arc<Port>, visit: Arc<Visit>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = Patient::new(stream, WRITE_TIME, Arc::clone(&visit));
    let service = service_fn(move |request| {
        let (port, visit) = (Arc::clone(&port), Arc::clone(&visit));
        async move {
            visit.asks(true);
            let response = port.answer(&request).await;
            visit.asks(false);
            Ok::<_, Infallible>(response)
        }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_LINES_MAX)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
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
                // It is the same even where nobody answers.
                self.inquirer.count(Endpoint::Root);
                of_page(page::INDEX)
            }
            Route::Endpoint(Endpoint::Healthz) => response(self.health(query).await),
            Route::Endpoint(_) if self.phase.get() == Phase::Starting => {
                response(Reply::text(503, "the server is starting\n"))
            }
            Route::Endpoint(endpoint) => {
                let accepted = request.headers().get(ACCEPT);
                let accepted = accepted.and_then(|value| value.to_str().ok());
                let reply = self.ask(&self.turn, endpoint, query, accepted.unwrap_or_default());
                self.bounded(reply.await)
            }
        }
    }

    async fn health(&self, query: &str) -> Reply {
        let takes_clients = self.phase.get() == Phase::Serving;
        let Some(mut reply) = health_at_once(query, takes_clients) else {
            return self
                .ask(&self.health_turn, Endpoint::Healthz, query, "")
                .await;
        };
        self.inquirer.count(Endpoint::Healthz);
        if let Some(warning) = reply.warning.take() {
            self.log.warn(format_args!("{warning}"));
        }
        reply
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

    async fn ask(
        &self,
        turn: &Arc<Semaphore>,
        endpoint: Endpoint,
        query: &str,
        accepted: &str,
    ) -> Reply {
        let asked = async {
            // Given back when the question is answered, and not when nobody waits for that any more.
            let turn = Arc::clone(turn).acquire_owned().await.ok()?;
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
