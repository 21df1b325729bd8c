//! Operators, accounts and users that the tests make up, a client of few words that shows what it
//! was given, and a server of claims.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};
use skein::auth::claims::encode;
use skein::auth::nkey::{KeyKind, SigningKey};

use crate::harness::PATIENCE;

/// The key of `KeyKind` whose seed is 32 times this byte.
pub fn key(kind: KeyKind, seed: u8) -> SigningKey {
    SigningKey::from_seed(kind, &[seed; 32]).unwrap()
}

pub fn account(seed: u8) -> String {
    key(KeyKind::Account, seed).public().to_string()
}

pub fn user(seed: u8) -> String {
    key(KeyKind::User, seed).public().to_string()
}

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Puts the second over the first, object by object.
pub fn over(under: &mut Value, more: &Value) {
    match (under, more) {
        (Value::Object(under), Value::Object(more)) => {
            for (name, value) in more {
                over(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, more) => *under = more.clone(),
    }
}

/// A token; `more` goes over what such tokens have.
pub fn token(mut body: Value, more: &Value, issued_at: u64, issuer: &SigningKey) -> String {
    over(&mut body, more);
    let Value::Object(body): Value = body else {
        panic!("claims are an object");
    };
    encode(body, issued_at, issuer)
}

/// The operator's key is 1, the system account's 2.
pub fn operator_token() -> String {
    let operator = key(KeyKind::Operator, 1);
    let body = json!({
        "sub": operator.public().to_string(), "name": "O",
        "nats": {"type": "operator", "version": 2, "system_account": account(2)},
    });
    token(body, &json!({}), now(), &operator)
}

trait OrEmpty {
    fn or_empty(self) -> Value;
}

impl OrEmpty for Value {
    fn or_empty(self) -> Value {
        match self {
            Value::Null => Value::Object(Map::new()),
            value => value,
        }
    }
}

pub fn account_token(seed: u8, more: Value) -> String {
    account_token_by(&key(KeyKind::Operator, 1), seed, more)
}

pub fn account_token_by(issuer: &SigningKey, seed: u8, more: Value) -> String {
    let body = json!({
        "sub": account(seed), "name": format!("account {seed}"),
        "nats": {
            "type": "account", "version": 2,
            "limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1},
        },
    });
    token(body, &more.or_empty(), now(), issuer)
}

/// A user of the account whose seed is `of`.
pub fn user_token(of: u8, seed: u8, more: Value) -> String {
    user_token_by(&key(KeyKind::Account, of), seed, more)
}

pub fn user_token_by(issuer: &SigningKey, seed: u8, more: Value) -> String {
    let body = json!({
        "sub": user(seed), "name": format!("user {seed}"),
        "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1},
    });
    // Before any revocation of this second.
    token(body, &more.or_empty(), now() - 10, issuer)
}

/// The first lines of a configuration, and accounts that it knows.
pub fn config(resolver: &str, preload: &[(u8, &str)]) -> String {
    let mut text = format!("operator: {}\nresolver: {resolver}\n", operator_token());
    if !preload.is_empty() {
        text += "resolver_preload {\n";
        for (seed, token) in preload {
            text += &format!("  {}: {token}\n", account(*seed));
        }
        text += "}\n";
    }
    text
}

/// A client that reads line by line.
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    subscriptions: u32,
}

impl Client {
    /// Connects as a user; the error is what the server said.
    pub fn user(address: SocketAddr, jwt: &str, seed: u8) -> Result<Self, String> {
        let signer = key(KeyKind::User, seed);
        Self::connect(address, |nonce| {
            let signature = BASE64URL_NOPAD.encode(&signer.sign(nonce.as_bytes()));
            json!({"jwt": jwt, "sig": signature})
        })
    }

    /// With CONNECT's fields made from the nonce.
    pub fn connect(
        address: SocketAddr,
        present: impl FnOnce(&str) -> Value,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self {
            stream,
            input: Vec::new(),
            subscriptions: 0,
        };
        let info = client.line().ok_or("closed")?;
        let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        let mut options = json!({"verbose": false, "pedantic": false, "headers": true,
            "no_responders": true, "lang": "test", "version": "1", "protocol": 1});
        over(
            &mut options,
            &present(info["nonce"].as_str().unwrap_or_default()),
        );
        client.say(&format!("CONNECT {options}"));
        client.flush()?;
        Ok(client)
    }

    pub fn say(&mut self, text: &str) {
        // A server that has closed says so before.
        let _ = self.stream.write_all(text.as_bytes());
        let _ = self.stream.write_all(b"\r\n");
    }

    /// Waits until the server has done all that was said; the error is what it says instead.
    pub fn flush(&mut self) -> Result<(), String> {
        self.say("PING");
        match self.until(|line| line == "PONG" || line.starts_with("-ERR")) {
            Some(line) if line == "PONG" => Ok(()),
            Some(line) => Err(line),
            None => Err("closed".to_owned()),
        }
    }

    /// Subscribes, and waits until that holds.
    pub fn subscribe(&mut self, subject: &str) {
        self.subscriptions += 1;
        let sid = self.subscriptions;
        self.say(&format!("SUB {subject} {sid}"));
        self.flush().unwrap();
    }

    pub fn publish(&mut self, subject: &str, body: &str) {
        self.say(&format!("PUB {subject} {}\r\n{body}", body.len()));
    }

    /// Publishes bytes.
    pub fn say_bytes(&mut self, subject: &str, body: &[u8]) {
        let mut message = format!("PUB {subject} {}\r\n", body.len()).into_bytes();
        message.extend_from_slice(body);
        message.extend_from_slice(b"\r\n");
        let _ = self.stream.write_all(&message);
    }

    /// The next line; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing comes");
            }
            Err(_) => false,
        }
    }

    /// The next line of which this is true; others are passed over.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        loop {
            let line = self.line()?;
            if wanted(&line) {
                return Some(line);
            }
        }
    }

    /// What the server says before it closes the connection.
    pub fn last_word(&mut self) -> String {
        let word = self.until(|line| line.starts_with("-ERR"));
        let word = word.unwrap_or_else(|| "nothing".to_owned());
        while self.line().is_some() {}
        word
    }

    /// The next message: subject, reply, headers and body.
    pub fn message(&mut self) -> Option<(String, String, String, Vec<u8>)> {
        let line = self.until(|line| line.starts_with("MSG ") || line.starts_with("HMSG "))?;
        let words: Vec<&str> = line.split(' ').collect();
        let numbers = if words[0] == "HMSG" { 2 } else { 1 };
        let total: usize = words[words.len() - 1].parse().unwrap();
        let headers: usize = match numbers {
            2 => words[words.len() - 2].parse().unwrap(),
            _ => 0,
        };
        while self.input.len() < total + 2 {
            assert!(self.fill(), "the whole message comes");
        }
        let body: Vec<u8> = self.input.drain(..total + 2).collect();
        let reply = match words.len() - numbers {
            4 => words[3],
            _ => "",
        };
        let head = String::from_utf8(body[..headers].to_vec()).unwrap();
        Some((
            words[1].to_owned(),
            reply.to_owned(),
            head,
            body[headers..total].to_vec(),
        ))
    }

    /// Asks and waits for the answer; `None` where nobody listens.
    pub fn request(&mut self, subject: &str, body: &str) -> Option<Vec<u8>> {
        let inbox = format!("_INBOX.{}", self.subscriptions);
        self.subscribe(&inbox);
        self.say(&format!("PUB {subject} {inbox} {}\r\n{body}", body.len()));
        let (_, _, headers, body) = self.message().unwrap();
        (!headers.starts_with("NATS/1.0 503")).then_some(body)
    }

    /// The same with an answer in JSON.
    pub fn ask(&mut self, subject: &str, body: &str) -> Value {
        let answer = self.request(subject, body).expect("somebody answers");
        serde_json::from_slice(&answer).unwrap()
    }
}

/// A server of claims: `GET /KEY` for each of a table.
pub struct ClaimsServer {
    pub address: SocketAddr,
    pub tokens: Arc<Mutex<BTreeMap<String, String>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl ClaimsServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            tokens: Arc::default(),
            asked: Arc::default(),
        };
        let (tokens, asked) = (Arc::clone(&server.tokens), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &tokens, &asked);
            }
        });
        server
    }
}

fn serve(
    mut stream: TcpStream,
    tokens: &Mutex<BTreeMap<String, String>>,
    asked: &Mutex<Vec<String>>,
) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let key = path.rsplit('/').next().unwrap_or_default();
    asked.lock().unwrap().push(path.to_owned());
    let found = match key {
        "" => Some(String::new()),
        key => tokens.lock().unwrap().get(key).cloned(),
    };
    let (status, body) = match found {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}
