//! A network path between two sockets that is as bad as a test wants it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::machines::any;

/// So many packets wait at most in each direction, as in a router.
const QUEUE: usize = 128;

/// Passes packets on to an address, and what comes back to who sent last from the other side.
pub struct Relay {
    pub address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// To an address, with at most so many bytes per second in each direction.
    pub async fn new(to: SocketAddr, bytes_per_second: u64) -> Self {
        let front = Arc::new(UdpSocket::bind(any()).await.unwrap());
        let address = front.local_addr().unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(relay(front, to, bytes_per_second, Arc::clone(&is_cut)));
        Self {
            address,
            is_cut,
            task,
        }
    }

    /// Lets nothing through any more, or all again.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(front: Arc<UdpSocket>, to: SocketAddr, bytes_per_second: u64, is_cut: Arc<AtomicBool>) {
    let mut ways: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, from)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        let packet = buffer[..length].to_vec();
        if is_cut.load(Ordering::Relaxed) {
            continue;
        }
        let way = match ways.entry(from) {
            Entry::Occupied(way) => way.into_mut(),
            Entry::Vacant(way) => way.insert(open(&front, from, to, bytes_per_second, &is_cut).await),
        };
        // What finds no room in the queue is lost.
        let _ = way.try_send(packet);
    }
}

/// A way there for what comes from an address, and one back.
async fn open(
    front: &Arc<UdpSocket>,
    from: SocketAddr,
    to: SocketAddr,
    bytes_per_second: u64,
    is_cut: &Arc<AtomicBool>,
) -> mpsc::Sender<Vec<u8>> {
    let back = Arc::new(UdpSocket::bind(any()).await.unwrap());
    back.connect(to).await.unwrap();
    let there = paced(Arc::clone(&back), None, bytes_per_second);
    let here = paced(Arc::clone(front), Some(from), bytes_per_second);
    let is_cut = Arc::clone(is_cut);
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = back.recv(&mut buffer).await {
            if !is_cut.load(Ordering::Relaxed) {
                let _ = here.try_send(buffer[..length].to_vec());
            }
        }
    });
    there
}

/// A queue whose packets leave at a pace.
fn paced(socket: Arc<UdpSocket>, to: Option<SocketAddr>, bytes_per_second: u64) -> mpsc::Sender<Vec<u8>> {
    let (sender, mut packets) = mpsc::channel::<Vec<u8>>(QUEUE);
    tokio::spawn(async move {
        let mut free_at = Instant::now();
        while let Some(packet) = packets.recv().await {
            // A timer has milliseconds: so much may go early.
            if free_at > Instant::now() + Duration::from_millis(2) {
                tokio::time::sleep_until(free_at).await;
            }
            let takes = Duration::from_nanos(packet.len() as u64 * 1_000_000_000 / bytes_per_second);
            free_at = free_at.max(Instant::now()) + takes;
            let _ = match to {
                Some(to) => socket.send_to(&packet, to).await,
                None => socket.send(&packet).await,
            };
        }
    });
    sender
}
