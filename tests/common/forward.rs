//! A forward proxy for tests, HTTP and SOCKS 5 on one port: it connects every request to one server, and counts bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy that runs until the test ends.
pub struct Forward {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    bytes: Arc<AtomicU64>,
}

impl Forward {
    /// Starts a proxy that connects every request to this address, regardless of the requested host.
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (asked, bytes) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicU64>::default());
        let (log, count) = (Arc::clone(&asked), Arc::clone(&bytes));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (log, count) = (Arc::clone(&log), Arc::clone(&count));
                thread::spawn(move || forward(client, to, &log, count));
            }
        });
        Self { address, asked, bytes }
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the requests, one line each: `CONNECT host:port` with the value of Proxy-Authorization, or
    /// `SOCKS5 host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panics").clone()
    }

    /// Returns the number of bytes from the server to its clients.
    pub fn received(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn forward(mut client: TcpStream, to: SocketAddr, log: &Mutex<Vec<String>>, bytes: Arc<AtomicU64>) -> io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    let asked = if first[0] == 5 { socks(&mut client)? } else { connect(&mut client, first[0])? };
    log.lock().expect("no thread panics").push(asked);
    let server = TcpStream::connect(to)?;
    let back = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || pump(back.0, back.1, Some(&bytes)));
    pump(client, server, None);
    Ok(())
}

/// Reads the rest of a CONNECT request.
fn connect(client: &mut TcpStream, first: u8) -> io::Result<String> {
    let mut head = vec![first];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let target = head.split(" HTTP/").next().unwrap_or_default();
    let credentials = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    Ok(credentials.map_or_else(|| target.to_owned(), |credentials| format!("{target} {credentials}")))
}

/// Reads the rest of a SOCKS 5 greeting and request, with a host name.
fn socks(client: &mut TcpStream) -> io::Result<String> {
    let mut count = [0];
    client.read_exact(&mut count)?;
    client.read_exact(&mut vec![0; usize::from(count[0])])?;
    client.write_all(&[5, 0])?;
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    if head[..4] != [5, 1, 0, 3] {
        return Err(io::Error::other(format!("no CONNECT by a name: {head:?}")));
    }
    let mut rest = vec![0; usize::from(head[4]) + 2];
    client.read_exact(&mut rest)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (name, port) = rest.split_at(rest.len() - 2);
    Ok(format!("SOCKS5 {}:{}", String::from_utf8_lossy(name), u16::from_be_bytes([port[0], port[1]])))
}

fn pump(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(count) = count {
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
