//! What the operator says about JetStream, as plain values. What depends on the machine (how much
//! memory and disk there is) is for `runtime/` to find out where nothing is said.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::definition::Secret;

/// When what was written is made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before it is acknowledged. This is Skein's default; nats-server's is every two minutes.
    #[default]
    Always,
    /// At least so often; acknowledgements do not wait.
    Every(Duration),
}

/// How stored messages are encrypted, if there is a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    /// ChaCha20-Poly1305.
    #[default]
    ChaCha,
    /// AES-GCM.
    Aes,
}

/// What streams and consumers may ask for at most. 0 for any number or the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssetLimits {
    /// Unacknowledged messages of a consumer.
    pub max_ack_pending: i64,
    /// Messages of a pull request.
    pub max_request_batch: i64,
    /// Nanoseconds in which a stream recognises duplicates.
    pub duplicate_window_ns: i64,
    /// Batches of a stream that are not committed yet.
    pub batches_per_stream: i64,
    /// The same of all streams.
    pub batches: i64,
    /// Messages of a batch.
    pub batch_messages: i64,
    /// Nanoseconds after which a batch that does not go on is given up.
    pub batch_timeout_ns: i64,
}

/// JetStream, on or off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    /// Whether there are streams at all.
    pub enabled: bool,
    /// Whether requests with unknown fields are refused.
    pub strict: bool,
    /// Where streams are kept, in a folder `jetstream`; `None` for a folder for temporary files.
    pub store_dir: Option<PathBuf>,
    pub sync: Sync,
    /// Bytes of streams in memory; `None` for three quarters of what there is.
    pub max_memory_bytes: Option<i64>,
    /// Bytes of streams on disk; `None` for what is free.
    pub max_storage_bytes: Option<i64>,
    /// Under which name this server is reached through others.
    pub domain: Option<String>,
    /// Tags that begin like this differ between the servers that hold copies of a stream.
    pub unique_tag: Option<String>,
    /// What streams are encrypted with.
    pub key: Option<Secret>,
    /// What they were encrypted with before.
    pub previous_key: Option<Secret>,
    pub cipher: Cipher,
    pub limits: AssetLimits,
    /// Bytes of publishes that a stream has not looked at yet.
    pub max_buffered_bytes: i64,
    /// Publishes that a stream has not looked at yet.
    pub max_buffered_messages: i64,
    /// Requests to the API that are not answered yet.
    pub request_queue: i64,
    /// Of those, the ones that only ask.
    pub info_queue: i64,
}

impl JetStreamOptions {
    /// Bytes that a stream buffers where nothing is said.
    const BUFFERED_BYTES: i64 = 128 * 1024 * 1024;
    /// Publishes that a stream buffers where nothing is said.
    const BUFFERED_MESSAGES: i64 = 100_000;
    /// Requests that wait where nothing is said.
    const REQUEST_QUEUE: i64 = 10_000;

    /// Whether the domain can be part of a subject.
    ///
    /// # Errors
    /// Why not; the text is nats-server's.
    pub fn check(&self) -> Result<(), String> {
        let Some(domain) = &self.domain else {
            return Ok(());
        };
        let subject = format!("$JS.{domain}.API.>");
        if !crate::subject::is_valid_pattern(subject.as_bytes()) {
            return Err(format!(
                "invalid domain name: derived {subject:?} is not a valid subject"
            ));
        }
        if domain.contains([' ', '\t', '\r', '\n', '\x0c', '.', '*', '>']) {
            return Err("invalid domain name: may not contain ., * or >".to_owned());
        }
        Ok(())
    }
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            strict: true,
            store_dir: None,
            sync: Sync::default(),
            max_memory_bytes: None,
            max_storage_bytes: None,
            domain: None,
            unique_tag: None,
            key: None,
            previous_key: None,
            cipher: Cipher::default(),
            limits: AssetLimits::default(),
            max_buffered_bytes: Self::BUFFERED_BYTES,
            max_buffered_messages: Self::BUFFERED_MESSAGES,
            request_queue: Self::REQUEST_QUEUE,
            info_queue: Self::REQUEST_QUEUE,
        }
    }
}
