//! One connection between its socket and the shard: bytes received until they are records, records
//! until they are bytes sent.
//!
//! A record that has arrived in one piece is decrypted where the kernel has put it. What is sent is
//! encrypted into one buffer at a time, which is given back when it has left: an idle connection holds
//! the keys and nothing else. Must not know sockets, nor what the bytes mean.

use std::sync::Arc;

use rustls::server::ServerConnectionData;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};

use super::handshake::Connection;
use super::{HANDSHAKE_BYTES_MAX, Tls};
use crate::base::deadlines::Millis;

/// Bytes of a record's header.
const HEADER_BYTES: usize = 5;
/// The most that one record holds.
pub const RECORD_PLAIN_BYTES_MAX: usize = 16 * 1024;
/// The longest record, with header, padding and tag.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + RECORD_PLAIN_BYTES_MAX + 2048;
/// Bytes that encryption adds to a record at most, in the suites that are offered.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// The most that is encrypted for one send. It stays in the processor's cache until it is sent.
pub const SEND_PLAIN_BYTES_MAX: usize = 4 * RECORD_PLAIN_BYTES_MAX;
/// Room for the ciphertext of that, with a share for pieces that end within a record, and for what
/// TLS itself has to say.
const SEND_BYTES_MAX: usize = SEND_PLAIN_BYTES_MAX + 64 * RECORD_OVERHEAD_BYTES;
/// Room for the ciphertext of a connection that sends little.
const SEND_SMALL_BYTES: usize = 4 * 1024;
/// Room for what TLS itself usually has to say at once.
const CONTROL_BYTES: usize = 2048;
/// More than the longest message of TLS itself, in whatever pieces it comes.
const INCOMING_BYTES_MAX: usize = 128 * 1024;
/// Pieces that are encrypted for one send.
const SEND_PIECES_MAX: usize = 48;
/// Free buffers that a shard keeps of each size.
const BUFFERS_POOLED_MAX: usize = 32;

const _: () = assert!(SEND_PLAIN_BYTES_MAX / RECORD_PLAIN_BYTES_MAX + SEND_PIECES_MAX < 64);

/// The first byte of a handshake.
const HANDSHAKE_BYTE: u8 = 0x16;

/// Buffers for ciphertext that are not in use.
#[derive(Debug, Default)]
pub struct Buffers {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

impl Buffers {
    fn take(&mut self, plain_bytes: usize) -> Vec<u8> {
        let (free, size) = if plain_bytes <= SEND_SMALL_BYTES / 2 {
            (&mut self.small, SEND_SMALL_BYTES)
        } else {
            (&mut self.large, SEND_BYTES_MAX)
        };
        free.pop().unwrap_or_else(|| Vec::with_capacity(size))
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let free = match buffer.capacity() {
            SEND_SMALL_BYTES => &mut self.small,
            SEND_BYTES_MAX => &mut self.large,
            _ => return,
        };
        if free.len() < BUFFERS_POOLED_MAX {
            buffer.clear();
            free.push(buffer);
        }
    }
}

/// How far a connection is.
#[derive(Debug)]
pub enum Stage {
    /// Whether TLS or INFO comes first depends on whether the client says something.
    Listening,
    /// INFO was sent; the first byte says whether the client wants TLS.
    Sniffing,
    /// The handshake is to come; nothing was understood of the client yet.
    Starting,
    /// The handshake is under way, and waits for the client.
    Handshake(Connection),
    /// The handshake waits for a helper, or is there.
    Helped,
    /// Records go both ways.
    Open(Connection),
    /// It is being closed and says no more than what is queued.
    Ended,
}

/// What the send under way consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// Pieces of the shard's, as they are.
    Plain,
    /// [`Stream::unsent`].
    Records,
}

/// One connection.
#[derive(Debug)]
pub struct Stream {
    pub stage: Stage,
    /// The options that hold for it.
    pub setup: Arc<Tls>,
    /// The handshake comes before INFO.
    pub first: bool,
    /// When something must have happened; 0 for never.
    pub deadline: Millis,
    /// It counts among the handshakes under way.
    pub counted: bool,
    sending: Sending,
    /// Received and not a whole record yet, or not yet looked at.
    incoming: Vec<u8>,
    /// Encrypted, and being sent or to be sent next.
    outgoing: Vec<u8>,
    /// How much of it has been sent.
    sent: usize,
    /// Bytes of the shard's that are in it.
    plain_bytes: usize,
    /// What TLS itself has to say, behind that.
    queued: Vec<u8>,
    close_notify_queued: bool,
}

/// What received bytes amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Wait for more.
    Nothing,
    /// The first bytes of a client that is [`Stage::Listening`] or [`Stage::Sniffing`].
    First {
        /// They look like TLS.
        tls: bool,
    },
    /// There is a record for the handshake.
    Handshake,
    /// Nothing for the shard, but TLS has something to say.
    Answer,
    /// These are no records.
    NotTls,
    /// More than is kept during a handshake.
    TooMuch,
    /// The peer has ended its side.
    PeerClosed,
    /// A record was wrong.
    Failed,
}

/// No more may be encrypted with these keys.
#[derive(Debug)]
pub struct KeysUsedUp;

/// What is done about a piece of ciphertext that has left.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// Some is still to be sent.
    Part,
    /// All of it, and with it so many of the shard's bytes.
    All { plain_bytes: usize },
}

impl Stream {
    pub fn new(setup: Arc<Tls>, stage: Stage, first: bool) -> Self {
        Self {
            stage,
            setup,
            first,
            deadline: 0,
            counted: false,
            sending: Sending::Plain,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            plain_bytes: 0,
            queued: Vec::new(),
            close_notify_queued: false,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Takes received bytes; those of the shard's are handed to `deliver`, decrypted.
    pub fn receive(&mut self, bytes: &mut [u8], mut deliver: impl FnMut(&[u8])) -> Received {
        match &mut self.stage {
            Stage::Open(connection) => {
                let mut records = Records {
                    connection,
                    queued: &mut self.queued,
                    deliver: &mut deliver,
                };
                let received = records.receive(&mut self.incoming, bytes);
                return self.received(received);
            }
            Stage::Ended => return Received::Nothing,
            Stage::Listening
            | Stage::Sniffing
            | Stage::Starting
            | Stage::Handshake(_)
            | Stage::Helped => {}
        }
        if self.incoming.len() + bytes.len() > HANDSHAKE_BYTES_MAX {
            return Received::TooMuch;
        }
        self.incoming.extend_from_slice(bytes);
        match &self.stage {
            Stage::Listening | Stage::Sniffing => match self.incoming.first() {
                Some(&first) => Received::First {
                    tls: first == HANDSHAKE_BYTE,
                },
                None => Received::Nothing,
            },
            Stage::Starting if self.incoming.first().is_some_and(|&b| b != HANDSHAKE_BYTE) => {
                Received::NotTls
            }
            Stage::Starting | Stage::Handshake(_) => match front_record(&self.incoming) {
                Front::Part => Received::Nothing,
                Front::Whole | Front::Wrong => Received::Handshake,
            },
            Stage::Helped | Stage::Open(_) | Stage::Ended => Received::Nothing,
        }
    }

    /// Takes bytes that are here already, after the stage has changed.
    pub fn resume(&mut self, mut deliver: impl FnMut(&[u8])) -> Received {
        let Stage::Open(connection) = &mut self.stage else {
            return self.receive(&mut [], deliver);
        };
        let mut records = Records {
            connection,
            queued: &mut self.queued,
            deliver: &mut deliver,
        };
        // Also without a byte: the handshake may have decrypted what came behind it.
        let (used, end) = records.decrypt(&mut self.incoming);
        self.incoming.drain(..used);
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        self.received(end.unwrap_or(Received::Nothing))
    }

    fn received(&mut self, received: Received) -> Received {
        match received {
            Received::Failed => {
                // rustls must not be asked again: it would look at the wrong bytes once more.
                self.stage = Stage::Ended;
                received
            }
            Received::Nothing if !self.queued.is_empty() => Received::Answer,
            received => received,
        }
    }

    /// What was received from a client that turns out to do without TLS.
    pub fn take_incoming(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.incoming)
    }

    /// Takes what a helper needs; the stage is [`Stage::Helped`] then. There is no connection yet
    /// when this is the first step.
    pub fn take_handshake(&mut self) -> Option<(Option<Connection>, Vec<u8>)> {
        let connection = match std::mem::replace(&mut self.stage, Stage::Helped) {
            Stage::Starting => None,
            Stage::Handshake(connection) => Some(connection),
            other => {
                self.stage = other;
                return None;
            }
        };
        Some((connection, self.take_incoming()))
    }

    /// Whether the client has sent anything.
    pub fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Starting) || !self.incoming.is_empty()
    }

    /// Puts bytes that were not used in front of those received since.
    pub fn put_back(&mut self, mut unused: Vec<u8>) {
        if !unused.is_empty() {
            unused.append(&mut self.incoming);
            self.incoming = unused;
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
    }

    /// Whether there is the first part of something.
    pub fn is_cut(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// The next send takes the shard's pieces as they are.
    pub fn set_sending_plain(&mut self) {
        self.sending = Sending::Plain;
    }

    /// Whether the last send was of [`Self::unsent`].
    pub fn is_sending_records(&self) -> bool {
        self.sending == Sending::Records
    }

    /// Queues what TLS itself has to say.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.queued.extend_from_slice(bytes);
    }

    /// Queues the words that end the records; once.
    pub fn queue_close_notify(&mut self) {
        let Stage::Open(connection) = &mut self.stage else {
            return;
        };
        if std::mem::replace(&mut self.close_notify_queued, true) {
            return;
        }
        let mut room = [0; 2 * RECORD_OVERHEAD_BYTES];
        let written = with_writer(connection, &mut self.incoming, &mut self.queued, |writer| {
            writer.queue_close_notify(&mut room).unwrap_or(0)
        });
        self.queued.extend_from_slice(&room[..written.unwrap_or(0)]);
    }

    /// Encrypts the first of these pieces, if nothing else is to be sent first, and says whether there
    /// is something to send then.
    ///
    /// # Errors
    /// When the keys are used up.
    pub fn encrypt<'a>(
        &mut self,
        buffers: &mut Buffers,
        pending_bytes: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<bool, KeysUsedUp> {
        self.sending = Sending::Records;
        if self.sent < self.outgoing.len() {
            return Ok(true);
        }
        self.start_buffer(buffers, pending_bytes);
        let Stage::Open(connection) = &mut self.stage else {
            return Ok(!self.outgoing.is_empty());
        };
        if self.close_notify_queued {
            return Ok(!self.outgoing.is_empty());
        }
        let mut left = SEND_PLAIN_BYTES_MAX;
        for piece in pieces.take(SEND_PIECES_MAX) {
            let piece = &piece[..piece.len().min(left)];
            if piece.is_empty() {
                break;
            }
            let records = piece.len().div_ceil(RECORD_PLAIN_BYTES_MAX);
            let start = self.outgoing.len();
            let room = piece.len() + (records + 1) * RECORD_OVERHEAD_BYTES;
            let outgoing = &mut self.outgoing;
            let encrypted =
                with_writer(connection, &mut self.incoming, &mut self.queued, |writer| {
                    outgoing.resize(start + room, 0);
                    let written = writer.encrypt(piece, &mut outgoing[start..]).unwrap_or(0);
                    outgoing.truncate(start + written);
                    written > 0
                });
            if encrypted != Some(true) {
                return Err(KeysUsedUp);
            }
            if !self.queued.is_empty() {
                // It was encrypted before the piece, so it goes before it.
                self.outgoing.splice(start..start, self.queued.drain(..));
            }
            self.plain_bytes += piece.len();
            left -= piece.len();
        }
        Ok(!self.outgoing.is_empty())
    }

    fn start_buffer(&mut self, buffers: &mut Buffers, pending_bytes: usize) {
        self.recycle(buffers);
        if self.queued.is_empty() && pending_bytes == 0 {
            return;
        }
        self.outgoing = buffers.take(pending_bytes + self.queued.len());
        self.outgoing.append(&mut self.queued);
        self.queued = Vec::new();
    }

    /// What is to be sent now; it stays where it is until [`Self::left`].
    pub fn unsent(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// So much of [`Self::unsent`] has been sent.
    pub fn left(&mut self, bytes: usize, buffers: &mut Buffers) -> Left {
        self.sent += bytes;
        if self.sent < self.outgoing.len() {
            return Left::Part;
        }
        let plain_bytes = std::mem::take(&mut self.plain_bytes);
        self.recycle(buffers);
        Left::All { plain_bytes }
    }

    /// Gives its buffer back. Not while a send is under way.
    pub fn recycle(&mut self, buffers: &mut Buffers) {
        self.sent = 0;
        if self.outgoing.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.outgoing));
        }
    }
}

enum Front {
    Part,
    Whole,
    /// No header of a record.
    Wrong,
}

fn front_record(bytes: &[u8]) -> Front {
    let Some(length) = front_record_bytes(bytes) else {
        return Front::Part;
    };
    if !(20..=24).contains(&bytes[0]) || length > RECORD_BYTES_MAX {
        Front::Wrong
    } else if bytes.len() < length {
        Front::Part
    } else {
        Front::Whole
    }
}

/// Length of the record that these bytes start with, header included, once it can be read.
fn front_record_bytes(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER_BYTES)?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// The receiving side of an open connection.
struct Records<'a, F> {
    connection: &'a mut Connection,
    queued: &'a mut Vec<u8>,
    deliver: &'a mut F,
}

impl<F: FnMut(&[u8])> Records<'_, F> {
    /// Handles records in `incoming` and then in `bytes`. One that is cut is completed in `incoming`;
    /// those behind it are handled in place.
    fn receive(&mut self, incoming: &mut Vec<u8>, mut bytes: &mut [u8]) -> Received {
        while !incoming.is_empty() {
            let missing = match front_record_bytes(incoming) {
                None => HEADER_BYTES - incoming.len(),
                Some(length) if (incoming.len() + 1..=RECORD_BYTES_MAX).contains(&length) => {
                    length - incoming.len()
                }
                // With a whole record in front, TLS waits for the rest of something longer.
                Some(_) => bytes.len(),
            };
            let (now, later) = bytes.split_at_mut(missing.min(bytes.len()));
            incoming.extend_from_slice(now);
            bytes = later;
            if matches!(front_record(incoming), Front::Part) {
                if bytes.is_empty() {
                    return Received::Nothing;
                }
                continue;
            }
            if incoming.len() > INCOMING_BYTES_MAX {
                return Received::Failed;
            }
            let (used, end) = self.decrypt(incoming);
            incoming.drain(..used);
            if incoming.is_empty() {
                *incoming = Vec::new();
            }
            if let Some(end) = end {
                return end;
            }
            if bytes.is_empty() {
                return Received::Nothing;
            }
        }
        if bytes.is_empty() {
            return Received::Nothing;
        }
        let (used, end) = self.decrypt(bytes);
        if let Some(end) = end {
            return end;
        }
        incoming.extend_from_slice(&bytes[used..]);
        Received::Nothing
    }

    /// Decrypts the whole records in `bytes`; how many bytes were used, and how it ended, if it did.
    fn decrypt(&mut self, bytes: &mut [u8]) -> (usize, Option<Received>) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut bytes[used..]);
            let mut more = 0;
            let end = match state {
                Ok(ConnectionState::ReadTraffic(mut records)) => {
                    // A record comes decrypted; the error is for interfaces to come.
                    while let Some(Ok(record)) = records.next_record() {
                        more += record.discard;
                        (self.deliver)(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(self.queued, |room| data.encode(room).ok());
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::WriteTraffic(_)) => Some(None),
                Ok(_) => Some(Some(Received::PeerClosed)),
                Err(_) => Some(Some(Received::Failed)),
            };
            used += discard + more;
            if let Some(end) = end {
                return (used, end);
            }
        }
    }
}

/// Appends what `write` puts into a buffer that is large enough for it.
pub fn encode(to: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Option<usize>) {
    let start = to.len();
    let mut room = CONTROL_BYTES;
    loop {
        to.resize(start + room, 0);
        if let Some(written) = write(&mut to[start..]) {
            to.truncate(start + written);
            return;
        }
        room *= 2;
    }
}

/// Lets `write` encrypt. What TLS has to say before that is put into `control`.
///
/// `incoming` are the bytes that were left over when records were last decrypted. There is nothing new
/// in them, but rustls may have seen the first part of a message there, and panics without it.
fn with_writer<T>(
    connection: &mut Connection,
    incoming: &mut [u8],
    control: &mut Vec<u8>,
    write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> T,
) -> Option<T> {
    loop {
        match connection.process_tls_records(incoming).state {
            Ok(ConnectionState::WriteTraffic(mut writer)) => return Some(write(&mut writer)),
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(control, |room| data.encode(room).ok());
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            // The peer has closed; what is written is no longer read, but may be.
            Ok(ConnectionState::PeerClosed) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}
