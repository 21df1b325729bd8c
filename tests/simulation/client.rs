//! A client: what it asks for at random, how it reads, and what answers it is owed.

use std::collections::VecDeque;

use skein::base::prng::Prng;

use super::pipe::Pipe;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// All there is.
    Fast,
    /// A little, now and then.
    Slow,
    /// Fast, with long pauses.
    Pausing,
    /// Not at all.
    Never,
}

/// An answer owed to a client, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    /// For the PING sent at this step.
    Pong(u64),
    Err(String),
}

/// Where in what a client writes something ends that others want to know of.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// A message, by its number in this epoch.
    Message(usize),
    /// UNSUB with a maximum, by the subscription's number.
    Max(usize),
}

/// A subscription with a subject of its own, whose beginning or end waits for a PONG.
#[derive(Debug)]
pub struct Barrier {
    /// When the PING was sent.
    pub ping: u64,
    pub subject: String,
    pub sid: String,
}

/// One connection from the side of the client, and the socket between.
#[derive(Debug)]
pub struct Client {
    pub reader: Reader,
    pub verbose: bool,
    pub headers: bool,
    pub protocol: u8,
    /// It answers pings.
    pub answers: bool,
    /// Its input arrives at the server in pieces of at most this.
    pub segment_max: u32,
    /// The operation that ends it has been written.
    pub doomed: bool,
    pub connect: String,
    pub sids: u64,
    pub messages: u64,

    // The socket.
    /// Bytes on their way to the server.
    pub to_server: Pipe,
    /// Bytes written so far.
    pub written: u64,
    /// Bytes the server has read so far.
    pub fed: u64,
    pub marks: VecDeque<(u64, Mark)>,
    /// The client has closed it; what it wrote may still be read.
    pub closed: bool,
    /// And hard: what it wrote is lost.
    pub reset: bool,
    /// Bytes on their way to the client.
    pub to_client: Pipe,
    pub capacity: usize,
    /// The server sends no more.
    pub server_finished: bool,
    /// The server has closed it, or broken it off.
    pub server_shut: bool,

    // What it has read.
    pub input: Vec<u8>,
    pub paused_for: u32,
    pub barriers: Vec<Barrier>,
    pub answers_owed: VecDeque<Answer>,
    pub got_info: bool,
    pub got_connect_info: bool,
    pub got_pong: bool,
    /// It has seen the end.
    pub gone: bool,
    /// The server closed it because the client had left.
    pub left: bool,
}

impl Client {
    /// It is there, and takes what comes.
    pub fn reads(&self) -> bool {
        !self.gone && !self.closed && self.reader != Reader::Never
    }

    pub fn has_unread(&self) -> bool {
        !self.input.is_empty() || !self.to_client.is_empty()
    }

    /// A client at random; `no_responders` has been chosen before.
    pub fn new(
        prng: &mut Prng,
        reader: Reader,
        (echo, headers, no_responders): (bool, bool, bool),
        tiny_segments: bool,
        credentials: &str,
    ) -> Self {
        let verbose = prng.one_in(4);
        let protocol = prng.below(2) as u8;
        let connect = format!(
            "CONNECT {{\"verbose\":{verbose},\"pedantic\":{},\"echo\":{echo},\"headers\":{headers},\
             \"no_responders\":{no_responders},\"protocol\":{protocol},\"name\":\"sim\"{credentials}}}\r\n",
            prng.one_in(5)
        );
        Self {
            reader,
            verbose,
            headers,
            protocol,
            answers: !prng.one_in(12),
            segment_max: match prng.below(4) {
                0 if tiny_segments => 3,
                1 => 2000,
                _ => 16 * 1024,
            },
            doomed: false,
            connect,
            sids: 0,
            messages: 0,
            to_server: Pipe::default(),
            written: 0,
            fed: 0,
            marks: VecDeque::new(),
            closed: false,
            reset: false,
            to_client: Pipe::default(),
            capacity: [600, 8 << 10, 64 << 10, 512 << 10][prng.below(4) as usize],
            server_finished: false,
            server_shut: false,
            input: Vec::new(),
            paused_for: 0,
            barriers: Vec::new(),
            answers_owed: VecDeque::new(),
            got_info: false,
            got_connect_info: false,
            got_pong: false,
            gone: false,
            left: false,
        }
    }

    /// Writes bytes to the socket.
    pub fn write(&mut self, bytes: &[u8]) {
        self.to_server.write(bytes);
        self.written += bytes.len() as u64;
    }

    /// An operation that is answered with `+OK` when that was asked for.
    pub fn write_operation(&mut self, bytes: &[u8]) {
        self.write(bytes);
        if self.verbose {
            self.answers_owed.push_back(Answer::Ok);
        }
    }

    /// When it sent the first PING that it has not seen answered. What it sent after that may wait
    /// in the server until other shards have caught up.
    pub fn waits_since(&self) -> Option<u64> {
        self.answers_owed.iter().find_map(|owed| match owed {
            Answer::Pong(sent) => Some(*sent),
            Answer::Ok | Answer::Err(_) => None,
        })
    }

    /// Notes that something ends where the last write did.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.push_back((self.written, mark));
    }

    /// Takes bytes from the socket; true at its end.
    pub fn read(&mut self, at_most: usize) -> bool {
        self.input.extend_from_slice(self.to_client.read(at_most));
        self.to_client.is_empty() && (self.server_finished || self.server_shut)
    }
}
