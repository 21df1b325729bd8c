//! An OCSP responder on a free loopback port, for one test. Knows nothing about NATS servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use data_encoding::BASE64;
use rcgen::KeyPair;

use crate::answers::Answer;

/// What it does with a request.
#[derive(Clone)]
pub enum Manner {
    /// Answers, signed with the key.
    Answers(Answer, Arc<KeyPair>),
    /// The same, but to GET only.
    AnswersGet(Answer, Arc<KeyPair>),
    /// Sends these bytes whatever the request is.
    Sends(Vec<u8>),
    /// Says that it cannot.
    Fails,
    /// Keeps the connection and says nothing.
    Silent,
}

pub struct Responder {
    pub address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicUsize>,
}

impl Responder {
    /// Its threads end with the test's process.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(manner));
        let asked = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (Arc::clone(&manner), Arc::clone(&asked));
        thread::spawn(move || {
            let mut silent = Vec::new();
            for socket in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let manner = shared.lock().unwrap().clone();
                // Who asks may be gone, which is not the responder's fault.
                if let Some(socket) = serve(socket, &manner) {
                    silent.push(socket);
                }
            }
        });
        Self {
            address,
            manner,
            asked,
        }
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The socket, if it is to be kept.
fn serve(mut socket: TcpStream, manner: &Manner) -> Option<TcpStream> {
    let (method, path, body) = request(&mut socket)?;
    let asked = match method.as_str() {
        "GET" => BASE64.decode(unescaped(path.trim_start_matches('/')).as_bytes()),
        _ => Ok(body),
    };
    let (status, answer) = match manner {
        Manner::AnswersGet(..) if method != "GET" => ("405 Method Not Allowed", Vec::new()),
        Manner::Answers(answer, key) | Manner::AnswersGet(answer, key) => {
            ("200 OK", answer.to(&asked.unwrap(), key))
        }
        Manner::Sends(bytes) => ("200 OK", bytes.clone()),
        Manner::Fails => ("500 Internal Server Error", Vec::new()),
        Manner::Silent => return Some(socket),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        answer.len()
    );
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(&answer).ok()?;
    None
}

/// Method, path and body.
fn request(socket: &mut TcpStream) -> Option<(String, String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match socket.read(&mut some).ok()? {
            0 => return None,
            length => bytes.extend_from_slice(&some[..length]),
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| {
        let value = line.strip_prefix("content-length:")?;
        value.trim().parse::<usize>().ok()
    });
    while bytes.len() < head + length.unwrap_or(0) {
        match socket.read(&mut some).ok()? {
            0 => return None,
            length => bytes.extend_from_slice(&some[..length]),
        }
    }
    let first = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut words = first.split(' ');
    let method = words.next()?.to_owned();
    let path = words.next()?.to_owned();
    Some((method, path, bytes[head..].to_vec()))
}

fn unescaped(path: &str) -> String {
    path.replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=")
}
