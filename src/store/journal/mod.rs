//! The journal: all records of a shard's streams, in the order in which they happened.
//!
//! # Files
//!
//! `segment-N` are files of a fixed length. A file that holds records is a *segment* and has a
//! *generation*, higher than that of any segment before; when all in it is dead it becomes a spare and is
//! used again under a new generation. What a file's name is means nothing; its frames say what it is.
//!
//! # Frames
//!
//! A flush writes one frame, and the next is only written when it is on stable storage (with
//! `sync_interval`: when it is written). A frame begins at a multiple of 4 KiB and is padded to one, so no
//! block that holds something durable is ever written again (but by [`Kind::Erase`](record::Kind)): that suits
//! direct I/O, and a write that is torn can only tear what nobody was told is safe. Rewriting the last block of
//! the frame before would save space where frames are small, and rest on the promise of a disk that a torn
//! write of the same bytes leaves them alone. What padding costs instead is small: frames are small when little is
//! written, and compaction packs their records.
//!
//! ```text
//! segment = frame*                                   generations are equal, numbers consecutive
//! frame   = "SKJ1" crc:u32 generation:u64 number:u64 bytes:u32 records:u32 chain:u32 key:u32 salt:16 before:u32 end:u32
//!           record* padding to 4 KiB                 before, end: how much lower the generation of the segment before
//!                                                    is, and where its frames end; 0 when nobody knows
//!                                                    crc: CRC32C of the head; chain: of the records' first 8 bytes,
//!                                                    of no meaning when one of them was erased
//! record  = crc:u32 (kind:6 length:26):u32 stream:u32 body padding to 8
//!           crc: CRC32C of the rest, begun with a hash of generation and offset; length: without padding
//! ```
//!
//! Bodies, by kind (numbers little-endian; with a key, those marked * are followed by a tag of 16 bytes):
//!
//! ```text
//! 1 message*  headers:u32 seq:u64 time:i64 subject:u16 flags:u8 encoding:u8 │ subject headers payload
//!             compressed: subject, length of headers and payload:u32, LZ4 block of both
//! 2 removed   (gap:varint more:varint)*              sequences of the stream that are gone for ever
//! 3 stream*   options:u8 key length:u32 key meta     made, or changed
//! 4 deleted                                          the stream, and all that is of it so far
//! 5 skip      last:u64 time:i64                      sequences up to `last` count as given out
//! 6 note*     note:u32 fact                          one more fact
//! 7 notes*    note:u32 (length:u32 fact)*            all facts there are: those before are forgotten
//! 8 segments  (generation:u64 slot:u32 end:u32)*     first record of a segment: which others are live
//! 9 freed     generation:u64*                        segments that are not
//! 10 erased   zeroes                                 in place of a message that was erased
//! 11 erase    generation:u64 offset:u32 length:u32?  a message that is to be erased; its length when that was found
//!                                                    to be right, before it is overwritten
//! ```
//!
//! # What makes replay simple
//!
//! Sequences are never given out twice, nor are numbers of streams. So a stream's messages are all that were
//! logged, without those that were logged as removed, whatever the order; compaction copies a message by
//! logging it again, and replay of a part that is already known changes nothing. Facts are copied by logging all
//! of a number anew.
//!
//! # What is dead
//!
//! A message when it was removed or copied; a fact when its number was rewritten; a `removed` when no segment is
//! left that is older than its own (what it removes was logged before). Compaction logs what is alive of a
//! segment anew, and when that is durable, `freed`; when that is durable, the file is a spare.

pub(crate) mod files;
pub(crate) mod frame;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod seal;

pub use record::StreamNumber;
pub use seal::{Cipher, Key};
