//! HTTP/2 of a hostile client: handmade frames on a TLS connection.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::target::Target;
use crate::tls::Http;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame from the server.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
}

/// The writing half of a connection.
pub struct Writer(WriteHalf<TlsStream<TcpStream>>);

/// The reading half of a connection.
pub struct Reader(ReadHalf<TlsStream<TcpStream>>);

/// Opens a connection and sends its preface.
pub async fn open(target: &Target, from: Option<Ipv4Addr>) -> io::Result<(Reader, Writer)> {
    let (read, write) = tokio::io::split(target.tls(Http::Two, from).await?);
    let mut writer = Writer(write);
    writer.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    writer.frame(SETTINGS, 0, 0, &[]).await?;
    writer.flush().await?;
    Ok((Reader(read), writer))
}

/// Returns the bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = Vec::with_capacity(9 + payload.len());
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Returns the head of a review, without HPACK's compression.
pub fn head(path: &str, length: Option<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut field = |name: &str, value: &str| {
        // A literal without indexing, with a new name.
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            out.extend_from_slice(text.as_bytes());
        }
    };
    field(":method", "POST");
    field(":scheme", "https");
    field(":authority", "localhost");
    field(":path", path);
    field("content-type", "application/json");
    if let Some(length) = length {
        field("content-length", &length.to_string());
    }
    out
}

impl Writer {
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.0.write_all(&frame(kind, flags, stream, payload)).await
    }

    /// Writes many frames at once.
    pub async fn bytes(&mut self, frames: &[u8]) -> io::Result<()> {
        self.0.write_all(frames).await
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

impl Reader {
    /// Reads the next frame, without its payload.
    pub async fn frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await?;
        Ok(Frame { kind: head[3], flags: head[4] })
    }
}
