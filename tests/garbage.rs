//! Sends garbage, half operations, over-long lines and slow bytes to a connection in every state. After each attack the
//! server must still carry a message between two well-behaved connections, and the attacked connection must have got a
//! defined answer: well-formed operations, then possibly one closing `-ERR`, then the end, or it stays open and ends when we
//! end it.
//!
//! `GARBAGE_SEED=n` replays one run (the seed is printed on failure), `GARBAGE_ROUNDS=n` sets its length.
//! `NATS_SERVER_BIN` runs it against a real nats-server.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use harness::{PATIENCE, Server};

const ROUNDS: u64 = 400;
/// Bytes of one attack that are sent one by one.
const SLOW_BYTES_MAX: usize = 300;
const CONTROL_LINE_MAX: usize = 4096;
const QUIET: &str = "\"verbose\":false,\"pedantic\":false,\"headers\":true";

#[test]
fn random_bytes_before_and_after_connect() {
    run(
        "",
        &[
            State::Greeted,
            State::Connected,
            State::Subscribed,
            State::InPayload,
            State::InHeaders,
            State::InLine,
        ],
    );
}

#[test]
fn random_bytes_with_authentication() {
    run(
        "--user a --pass b",
        &[
            State::Greeted,
            State::Connected,
            State::InPayload,
            State::InConnect,
        ],
    );
}

#[test]
fn certain_attacks_have_certain_answers() {
    let open = Server::start("", "").expect("the server starts");
    let guarded = Server::start("--user a --pass b", "").expect("the server starts");
    let mut open_pair = HealthyPair::new(open.address(), "");
    let mut guarded_pair = HealthyPair::new(guarded.address(), CREDENTIALS);
    let unknown = "-ERR 'Unknown Protocol Operation'\r\n";
    let violation = "-ERR 'Authorization Violation'\r\n";
    let too_long = "-ERR 'maximum control line exceeded'\r\n";
    // Every byte that starts no operation, before and after CONNECT, and every byte but C where CONNECT is due.
    for byte in 0..=u8::MAX {
        if !b"CHIPSUchipsu+-".contains(&byte) {
            for state in [State::Greeted, State::Connected, State::Subscribed] {
                assert_eq!(
                    attack(open.address(), "", state, &[byte], Pace::Whole).said(),
                    unknown,
                    "{byte} in {state:?}"
                );
            }
        }
        if !b"Cc".contains(&byte) {
            let said = attack(
                guarded.address(),
                CREDENTIALS,
                State::Greeted,
                &[byte],
                Pace::Whole,
            )
            .said();
            assert_eq!(said, violation, "{byte}");
        }
    }
    open_pair.check();
    guarded_pair.check();
    for verb in [
        "PUB ", "HPUB ", "SUB ", "UNSUB ", "CONNECT ", "INFO ", "-ERR ",
    ] {
        let mut line = verb.as_bytes().to_vec();
        line.resize(verb.len() + CONTROL_LINE_MAX + 1, b'x');
        for pace in [Pace::Whole, Pace::Random(7)] {
            let answer = attack(open.address(), "", State::Connected, &line, pace);
            assert_eq!(answer.said(), too_long, "endless {verb}");
        }
    }
    let mut line = b"CONNECT {\"user\":\"".to_vec();
    line.resize(5 * CONTROL_LINE_MAX, b'x');
    assert_eq!(
        attack(
            guarded.address(),
            CREDENTIALS,
            State::Greeted,
            &line,
            Pace::Random(8)
        )
        .said(),
        too_long
    );
    open_pair.check();
    guarded_pair.check();
    // An operation cut anywhere says nothing, and the rest of it may come later.
    let whole = b"HPUB garbage.cut rep 12 16\r\nNATS/1.0\r\n\r\nabcd\r\n";
    for length in 0..whole.len() {
        let (first, second) = whole.split_at(length);
        assert_eq!(
            attack(open.address(), "", State::Connected, first, Pace::Whole).said(),
            "",
            "cut at {length}"
        );
        let mut conn = Conn::open(open.address());
        conn.send(format!("CONNECT {{{QUIET}}}\r\n").as_bytes());
        conn.send(first);
        open_pair.check();
        conn.send(second);
        conn.fence();
    }
    open_pair.check();
}

#[test]
fn pieces_do_not_matter() {
    let server = Server::start("", "").expect("the server starts");
    let mut pair = HealthyPair::new(server.address(), "");
    let mut random = Random::new(seed());
    for round in 0..40 {
        let subject = format!("garbage.pieces.{round}");
        let mut script = format!("SUB {subject} 1\r\n");
        let mut expected = String::new();
        for _ in 0..=random.below(12) {
            let payload = "x\r\nPUB y".repeat(random.below(700));
            let size = payload.len();
            match random.below(3) {
                0 => {
                    script += &format!("PUB {subject} r.e.p {size}\r\n{payload}\r\n");
                    expected += &format!("MSG {subject} 1 r.e.p {size}\r\n{payload}\r\n");
                }
                1 => {
                    let total = size + 12;
                    script +=
                        &format!("HPUB {subject} 12 {total}\r\nNATS/1.0\r\n\r\n{payload}\r\n");
                    expected +=
                        &format!("HMSG {subject} 1 12 {total}\r\nNATS/1.0\r\n\r\n{payload}\r\n");
                }
                _ => {
                    script += "PING\r\n";
                    expected += "PONG\r\n";
                }
            }
        }
        let pace = Pace::Random(random.next());
        let answer = attack(
            server.address(),
            "",
            State::Connected,
            script.as_bytes(),
            pace,
        );
        assert!(
            answer.said() == expected,
            "round {round}: {script:?} in pieces ({pace:?}) is answered {:?}",
            answer.said()
        );
        pair.check();
    }
}

/// Where the connection is when the garbage comes.
#[derive(Clone, Copy, Debug)]
enum State {
    Greeted,
    InConnect,
    Connected,
    Subscribed,
    InLine,
    InPayload,
    InHeaders,
}

/// How the bytes are cut into packets.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Whole,
    Random(u64),
    OneByOne,
}

const CREDENTIALS: &str = "\"user\":\"a\",\"pass\":\"b\",";

fn run(flags: &str, states: &[State]) {
    let seed = seed();
    let rounds = env::var("GARBAGE_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS);
    let credentials = if flags.is_empty() { "" } else { CREDENTIALS };
    let mut server = Server::start(flags, "").expect("the server starts");
    let mut pair = HealthyPair::new(server.address(), credentials);
    let mut random = Random::new(seed);
    for round in 0..rounds {
        let state = states[random.below(states.len())];
        let mut garbage = random.garbage();
        let pace = match random.below(4) {
            0 => Pace::OneByOne,
            1 => Pace::Random(random.next()),
            _ => Pace::Whole,
        };
        if matches!(pace, Pace::OneByOne) {
            garbage.truncate(SLOW_BYTES_MAX);
        }
        let answer = attack(server.address(), credentials, state, &garbage, pace);
        let wrong = answer.defect();
        if wrong.is_some() || !pair.still_works() {
            panic!(
                "GARBAGE_SEED={seed} round {round}: {state:?}, {pace:?}: \"{}\"\nis answered \"{}\"\n{}\nlog:\n{}",
                garbage.escape_ascii(),
                answer.bytes.escape_ascii(),
                wrong.unwrap_or("then two other connections cannot talk"),
                server
                    .log_text()
                    .lines()
                    .rev()
                    .take(20)
                    .collect::<Vec<_>>()
                    .join("\n")
            );
        }
    }
    assert!(harness::signal(server.pid(), "TERM"), "it is running");
    assert_eq!(
        server.wait_for_exit(),
        Some(0),
        "after GARBAGE_SEED={seed} the server ends as it should"
    );
}

fn seed() -> u64 {
    env::var("GARBAGE_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_260_821)
}

/// What the server said after the state was reached.
struct Answer {
    bytes: Vec<u8>,
}

/// Brings a new connection into `state`, sends `garbage`, then ends our direction and reads to the end.
fn attack(
    address: SocketAddr,
    credentials: &str,
    state: State,
    garbage: &[u8],
    pace: Pace,
) -> Answer {
    let mut conn = Conn::open(address);
    let connect = format!("CONNECT {{{credentials}{QUIET}}}\r\n");
    let prefix = match state {
        State::Greeted => String::new(),
        State::InConnect => format!("CONNECT {{{credentials}"),
        State::Connected => connect,
        State::Subscribed => format!("{connect}SUB garbage.> 1\r\nSUB garbage.* q 2\r\n"),
        State::InLine => format!("{connect}PUB garbage.line"),
        State::InPayload => format!("{connect}PUB garbage.payload 40\r\n0123456789"),
        State::InHeaders => format!("{connect}HPUB garbage.headers 22 30\r\nNATS/1.0\r\nKey:"),
    };
    conn.send(prefix.as_bytes());
    if matches!(state, State::Connected | State::Subscribed) {
        conn.send(b"PING\r\n");
        assert_eq!(conn.read(6), b"PONG\r\n", "a healthy CONNECT works");
    }
    match pace {
        Pace::Whole => conn.send(garbage),
        Pace::OneByOne => garbage.chunks(1).for_each(|byte| conn.send(byte)),
        Pace::Random(seed) => {
            let mut random = Random::new(seed);
            let mut rest = garbage;
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(1 + random.below(900)));
                conn.send(piece);
                rest = tail;
            }
        }
    }
    // The end of our direction is a reset for some; what the server said is read either way.
    let _ = conn.stream.shutdown(Shutdown::Write);
    let bytes = conn.read(usize::MAX);
    assert!(
        conn.ended,
        "{state:?} {pace:?} \"{}\": no end, it said {bytes:?}",
        garbage.escape_ascii()
    );
    Answer { bytes }
}

impl Answer {
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Why this is not what a server says: something that is no operation, or anything after an `-ERR` that closes.
    fn defect(&self) -> Option<&'static str> {
        let mut rest = self.bytes.as_slice();
        while !rest.is_empty() {
            let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
                return Some("half a line at the end");
            };
            let (line, tail) = (&rest[..end], &rest[end + 2..]);
            rest = match line {
                b"+OK" | b"PONG" | b"PING" => tail,
                _ if line.starts_with(b"INFO {") => tail,
                _ if line.starts_with(b"-ERR '") && line.ends_with(b"'") => {
                    if closes(line) && !tail.is_empty() {
                        return Some("an operation after an -ERR that closes");
                    }
                    tail
                }
                _ if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") => {
                    let size = line
                        .rsplit(|byte| *byte == b' ')
                        .next()
                        .and_then(|text| str::from_utf8(text).ok());
                    let Some(size) = size.and_then(|text| text.parse::<usize>().ok()) else {
                        return Some("a bad size");
                    };
                    match tail.split_at_checked(size) {
                        Some((_, after)) if after.starts_with(b"\r\n") => &after[2..],
                        _ => return Some("a message shorter than it says"),
                    }
                }
                _ => return Some("an unknown operation"),
            };
        }
        None
    }
}

fn closes(line: &[u8]) -> bool {
    let stays: [&[u8]; 3] = [
        b"-ERR 'Invalid ",
        b"-ERR 'Permissions Violation",
        b"-ERR 'maximum subscriptions",
    ];
    !stays.iter().any(|start| line.starts_with(start))
}

/// Two connections that must be able to talk at any time.
struct HealthyPair {
    publisher: Conn,
    subscriber: Conn,
    sent: u64,
}

impl HealthyPair {
    fn new(address: SocketAddr, credentials: &str) -> Self {
        let connect = format!("CONNECT {{{credentials}{QUIET}}}\r\n");
        let (mut publisher, mut subscriber) = (Conn::open(address), Conn::open(address));
        publisher.send(connect.as_bytes());
        subscriber.send(format!("{connect}SUB healthy.pair 7\r\n").as_bytes());
        let mut pair = Self {
            publisher,
            subscriber,
            sent: 0,
        };
        pair.publisher.fence();
        pair.subscriber.fence();
        pair.check();
        pair
    }

    fn check(&mut self) {
        assert!(
            self.still_works(),
            "two well-behaved connections cannot talk"
        );
    }

    fn still_works(&mut self) -> bool {
        self.sent += 1;
        let payload = format!("{:016}", self.sent);
        self.publisher
            .send(format!("PUB healthy.pair 16\r\n{payload}\r\nPING\r\n").as_bytes());
        let expected = format!("MSG healthy.pair 7 16\r\n{payload}\r\n");
        self.subscriber.read_op(expected.len()) == expected.as_bytes()
            && self.publisher.read_op(6) == b"PONG\r\n"
    }
}

struct Conn {
    stream: TcpStream,
    ended: bool,
}

impl Conn {
    /// Connects and drops the greeting.
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream
            .set_nodelay(true)
            .expect("a fresh socket takes options");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a fresh socket takes options");
        let mut conn = Self {
            stream,
            ended: false,
        };
        let mut last = [0];
        while last != *b"\n" {
            let byte = conn.read(1);
            last = *byte.first_chunk().expect("the server greets with a line");
        }
        conn
    }

    /// A failing send is no failure: the server may have closed already.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn fence(&mut self) {
        self.send(b"PING\r\n");
        assert_eq!(self.read(6), b"PONG\r\n", "a healthy connection works");
    }

    /// As `read`, but answers and drops the server's own PINGs.
    fn read_op(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = self.read(count.min(6));
        while bytes == b"PING\r\n" {
            self.send(b"PONG\r\n");
            bytes = self.read(count.min(6));
        }
        bytes.extend(self.read(count.saturating_sub(6)));
        bytes
    }

    /// Up to `count` bytes, fewer at the end of the connection or of our patience.
    fn read(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = Vec::new();
        let mut buffer = vec![0; count.min(65536)];
        while bytes.len() < count && !self.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if self
                .stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .is_err()
                || left.is_zero()
            {
                break;
            }
            let wanted = (count - bytes.len()).min(buffer.len());
            match self.stream.read(&mut buffer[..wanted]) {
                Ok(0) => self.ended = true,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                Err(_) => self.ended = true,
            }
        }
        bytes
    }
}

/// splitmix64.
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("a length fits");
        usize::try_from(self.next() % end).expect("it is less than a usize")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn garbage(&mut self) -> Vec<u8> {
        match self.below(6) {
            0 => {
                let count = self.below(2000);
                self.bytes(count)
            }
            1 => {
                let letters = b"PUBSHINGCOET +-\r\n\t0123456789.*>{}\":'";
                (0..self.below(400))
                    .map(|_| letters[self.below(letters.len())])
                    .collect()
            }
            2 => {
                let mut line = self.operation();
                let at = self.below(line.len());
                let count = self.below(3 * CONTROL_LINE_MAX);
                line.splice(at..at, std::iter::repeat_n(b'y', count));
                line
            }
            3 => {
                let mut bytes: Vec<u8> =
                    (0..=self.below(8)).flat_map(|_| self.operation()).collect();
                let end = self.below(bytes.len());
                bytes.truncate(end);
                bytes
            }
            4 => (0..=self.below(30))
                .flat_map(|_| self.operation())
                .collect(),
            _ => {
                let mut bytes: Vec<u8> = (0..=self.below(10))
                    .flat_map(|_| self.operation())
                    .collect();
                for _ in 0..=self.below(4) {
                    let at = self.below(bytes.len());
                    match self.below(3) {
                        0 => bytes[at] = self.next().to_le_bytes()[0],
                        1 => drop(bytes.remove(at)),
                        _ => bytes.insert(at, b" \r\n\0"[self.below(4)]),
                    }
                    if bytes.is_empty() {
                        break;
                    }
                }
                bytes
            }
        }
    }

    /// An operation, mostly valid, often a bad idea.
    fn operation(&mut self) -> Vec<u8> {
        const OPERATIONS: [&str; 30] = [
            "PING\r\n",
            "PONG\r\n",
            "+OK\r\n",
            "-ERR 'x'\r\n",
            "INFO {}\r\n",
            "CONNECT {}\r\n",
            "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n",
            "CONNECT {\"user\":\"a\",\"pass\":\"b\"}\r\n",
            "CONNECT {\"user\":\"a\",\"pass\":\"wrong\"}\r\n",
            "CONNECT {\"a\":[[[[[[[[{}]]]]]]]]}\r\n",
            "SUB garbage.a 1\r\n",
            "SUB garbage.> 2\r\n",
            "SUB garbage.* q 3\r\n",
            "SUB > 4\r\n",
            "SUB garbage..a 5\r\n",
            "SUB a b c d e\r\n",
            "UNSUB 1\r\n",
            "UNSUB 2 3\r\n",
            "UNSUB 99 -1\r\n",
            "PUB garbage.a 5\r\nhello\r\n",
            "PUB garbage.a garbage.b 5\r\nhello\r\n",
            "PUB garbage.b 0\r\n\r\n",
            "PUB garbage.b 12\r\nhello\r\n",
            "PUB garbage.b 99999999999999999999\r\n",
            "PUB garbage.b 104857600\r\n",
            "PUB garbage.> 5\r\nhello\r\n",
            "HPUB garbage.a 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
            "HPUB garbage.a garbage.reply 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            "HPUB garbage.a 17 12\r\nNATS/1.0\r\n\r\nhello\r\n",
            "PUB $NRG.x _R_.y 1\r\nx\r\n",
        ];
        OPERATIONS[self.below(OPERATIONS.len())].into()
    }
}
