//! Not a server: turns the PUB stream of each publisher of `loadgen pairs` into the MSG stream of its subscriber at copy
//! speed, without looking at subjects. It shows what the load generator alone can do, and what each message costs it.
//!
//!     cargo run --release --example mirror -- 4900 & loadgen --server 127.0.0.1:4900 --cpus 1 pairs
//!
//! One pair only. The layout of all messages is taken from the first PUB line.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

const INFO: &[u8] = b"INFO {\"version\":\"mirror\",\"max_payload\":1048576}\r\n";
const BUFFER_BYTES: usize = 256 * 1024;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "4900".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let mut subscriber = None;
    for connection in listener.incoming() {
        let mut connection = connection?;
        connection.set_nodelay(true)?;
        if greet(&mut connection)? {
            subscriber = Some(connection);
        } else if let Some(subscriber) = subscriber.take() {
            thread::spawn(move || mirror(connection, subscriber));
        }
    }
    Ok(())
}

/// Handshake; says whether the client subscribed. `loadgen` connects subscribers first, publishers after.
fn greet(connection: &mut TcpStream) -> io::Result<bool> {
    connection.write_all(INFO)?;
    let mut buffer = [0; 4096];
    let mut text = String::new();
    for awaited in ["PING\r\n", "SUB "] {
        if awaited == "SUB " {
            // A publisher says nothing more until it publishes; peeking tells a SUB from a PUB.
            let length = connection.peek(&mut buffer)?;
            if !buffer[..length].starts_with(b"SUB ") {
                return Ok(false);
            }
            text.clear();
        }
        while !(text.contains(awaited) && text.ends_with("PING\r\n")) {
            let length = connection.read(&mut buffer)?;
            if length == 0 {
                return Ok(false);
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        connection.write_all(b"PONG\r\n")?;
    }
    Ok(true)
}

fn mirror(mut publisher: TcpStream, mut subscriber: TcpStream) -> io::Result<()> {
    let mut input = vec![0; BUFFER_BYTES];
    let mut output = Vec::with_capacity(2 * BUFFER_BYTES);
    let mut end = 0;
    let mut layout: Option<(Vec<u8>, usize, usize)> = None;
    loop {
        let length = publisher.read(&mut input[end..])?;
        if length == 0 {
            return Ok(());
        }
        end += length;
        if layout.is_none() {
            layout = input[..end]
                .iter()
                .position(|byte| *byte == b'\n')
                .and_then(|newline| head(&input[..=newline]));
        }
        let Some((message_head, line_bytes, payload_bytes)) = &layout else {
            continue;
        };
        let stride = line_bytes + payload_bytes + 2;
        output.clear();
        let mut taken = 0;
        for message in input[..end]
            .chunks_exact(stride)
            .take_while(|message| message.starts_with(b"PUB "))
        {
            output.extend_from_slice(message_head);
            output.extend_from_slice(&message[*line_bytes..]);
            taken += stride;
        }
        subscriber.write_all(&output)?;
        if input[taken..end].starts_with(b"PING\r\n") {
            publisher.write_all(b"PONG\r\n")?;
            return farewell(subscriber);
        }
        input.copy_within(taken..end, 0);
        end -= taken;
    }
}

/// Answers the subscriber's closing PING and waits until it has gone.
fn farewell(mut subscriber: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 64];
    while subscriber.read(&mut buffer)? > 0 {
        subscriber.write_all(b"PONG\r\n")?;
    }
    Ok(())
}

/// From `PUB subject size CRLF`: the head of the message delivered, the length of this line, the size.
fn head(line: &[u8]) -> Option<(Vec<u8>, usize, usize)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace().skip(1);
    let (subject, size) = (words.next()?, words.next()?);
    Some((
        format!("MSG {subject} 1 {size}\r\n").into_bytes(),
        line.len(),
        size.parse().ok()?,
    ))
}
