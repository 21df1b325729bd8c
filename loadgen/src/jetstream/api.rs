//! The JetStream API as a blocking client: streams, consumers, and what the server says of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Doing, Failure, Result};
use crate::link::{Link, Target};
use crate::wire::{ServerOp, encode_publish_line, printable};

/// Creating a consumer on ten million messages may take a server seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const SID: u64 = 1;

pub struct Api {
    link: Link,
    inbox: String,
    calls: u64,
}

/// What a stream says of its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// What a consumer says of its progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerState {
    pub delivered: u64,
    pub ack_floor: u64,
    pub ack_pending: u64,
    pub redelivered: u64,
    pub pending: u64,
}

impl Api {
    pub fn open(target: &Target) -> Result<Self> {
        let mut link = Link::open(target)?;
        link.stream
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .doing(|| "setting a time limit".to_owned())?;
        let inbox = unique_inbox("api");
        link.subscribe(&format!("{inbox}.*"), None, SID)?;
        link.barrier()?;
        Ok(Self {
            link,
            inbox,
            calls: 0,
        })
    }

    /// Sends one message to `subject` and returns the first answer's payload.
    pub fn request(&mut self, subject: &str, payload: &[u8]) -> Result<Vec<u8>> {
        self.calls += 1;
        let reply = format!("{}.{}", self.inbox, self.calls);
        let mut line = Vec::new();
        encode_publish_line(
            &mut line,
            subject.as_bytes(),
            Some(reply.as_bytes()),
            payload.len(),
        );
        line.extend_from_slice(payload);
        line.extend_from_slice(b"\r\n");
        self.link.write(&line)?;
        loop {
            let (mut answer, mut pings) = (None, 0);
            self.link.inbox.drain(|op| {
                match op {
                    ServerOp::Message(message) if message.subject == reply.as_bytes() => {
                        if message.headers.starts_with(b"NATS/1.0 503") {
                            return Err(Failure::server(format!(
                                "has nobody who answers {subject} (is JetStream on?)"
                            )));
                        }
                        answer.get_or_insert_with(|| message.payload.to_vec());
                    }
                    ServerOp::Ping => pings += 1,
                    ServerOp::Error(text) => {
                        return Err(Failure::server(format!("sent -ERR {}", printable(text))));
                    }
                    _ => {}
                }
                Ok(())
            })?;
            for _ in 0..pings {
                self.link.write(b"PONG\r\n")?;
            }
            if let Some(answer) = answer {
                return Ok(answer);
            }
            if self.link.inbox.fill(&mut self.link.stream)? == 0 {
                return Err(Failure::server(format!(
                    "did not answer {subject} within {} s",
                    ANSWER_TIMEOUT.as_secs()
                )));
            }
        }
    }

    /// Calls `$JS.API.<what>`; an answer with an error is the server's failure.
    pub fn call(&mut self, what: &str, body: &Value) -> Result<Value> {
        let answer = self.try_call(what, body)?;
        match answer.get("error") {
            Some(error) => Err(Failure::server(format!("answered {what} with {error}"))),
            None => Ok(answer),
        }
    }

    fn try_call(&mut self, what: &str, body: &Value) -> Result<Value> {
        let payload = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let answer = self.request(&format!("$JS.API.{what}"), &payload)?;
        serde_json::from_slice(&answer).map_err(|error| {
            let text = printable(&answer);
            Failure::server(format!("answered {what} with no JSON ({error}): {text}"))
        })
    }

    /// Makes the stream anew: what an earlier run has left under its name goes.
    pub fn make_stream(&mut self, config: &Value) -> Result<()> {
        let name = config["name"].as_str().unwrap_or_default().to_owned();
        self.try_call(&format!("STREAM.DELETE.{name}"), &Value::Null)?;
        self.call(&format!("STREAM.CREATE.{name}"), config)?;
        Ok(())
    }

    pub fn delete_stream(&mut self, name: &str) -> Result<()> {
        self.call(&format!("STREAM.DELETE.{name}"), &Value::Null)?;
        Ok(())
    }

    pub fn stream(&mut self, name: &str) -> Result<StreamState> {
        let info = self.call(&format!("STREAM.INFO.{name}"), &Value::Null)?;
        let field = |key: &str| info["state"][key].as_u64().unwrap_or(0);
        Ok(StreamState {
            messages: field("messages"),
            bytes: field("bytes"),
            first_seq: field("first_seq"),
            last_seq: field("last_seq"),
        })
    }

    /// Makes a durable consumer of the name in its configuration; returns the answer.
    pub fn make_consumer(&mut self, stream: &str, config: &Value) -> Result<Value> {
        let name = config["durable_name"].as_str().or(config["name"].as_str());
        let subject = format!("CONSUMER.CREATE.{stream}.{}", name.unwrap_or_default());
        self.call(
            &subject,
            &json!({"stream_name": stream, "config": config, "action": "create"}),
        )
    }

    pub fn delete_consumer(&mut self, stream: &str, name: &str) -> Result<()> {
        self.call(&format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null)?;
        Ok(())
    }

    pub fn consumer(&mut self, stream: &str, name: &str) -> Result<ConsumerState> {
        let info = self.call(&format!("CONSUMER.INFO.{stream}.{name}"), &Value::Null)?;
        let field = |key: &str| info[key].as_u64().unwrap_or(0);
        let within = |key: &str| info[key]["consumer_seq"].as_u64().unwrap_or(0);
        Ok(ConsumerState {
            delivered: within("delivered"),
            ack_floor: within("ack_floor"),
            ack_pending: field("num_ack_pending"),
            redelivered: field("num_redelivered"),
            pending: field("num_pending"),
        })
    }
}

/// Asks again until `done`, or until `patience` is over: then with the last answer as `Err`.
pub fn wait_for<T>(
    patience: Duration,
    mut ask: impl FnMut() -> Result<T>,
    done: impl Fn(&T) -> bool,
) -> Result<std::result::Result<T, T>> {
    const PAUSE: Duration = Duration::from_millis(1);
    let deadline = Instant::now() + patience;
    loop {
        let answer = ask()?;
        if done(&answer) {
            return Ok(Ok(answer));
        }
        if Instant::now() > deadline {
            return Ok(Err(answer));
        }
        std::thread::sleep(PAUSE);
    }
}

/// An inbox that no other connection of this or another run listens to.
pub fn unique_inbox(purpose: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    format!("_INBOX.{purpose}{:x}x{number:x}", std::process::id())
}
