//! Envelopes between processes of this machine, over Unix sockets: a length of four bytes, and an envelope as nodes encode
//! it. A peer that cannot keep up loses envelopes, as on any network.

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use load::Failure;
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster_driver::Transport;

use crate::NODES;

/// So many envelopes may wait for a peer.
const WAITING: usize = 4096;
/// The most bytes of an envelope that is read.
const MAX_BYTES: usize = 64 << 20;

/// Who is where: nodes have joined one after the other, and joiners have their place as their token.
fn place(peer: Peer) -> usize {
    match peer {
        Peer::Node(node) => node.get() as usize - 1,
        Peer::Joiner(token) => token as usize,
    }
}

fn path(directory: &Path, place: usize) -> PathBuf {
    directory.join(format!("{place}.socket"))
}

/// Sends to the sockets in a directory.
pub struct Sockets {
    peers: BTreeMap<usize, SyncSender<Envelope>>,
}

impl Sockets {
    /// From the node at a place to all others.
    pub fn start(directory: &Path, here: usize) -> Self {
        let peers = (0..NODES).filter(|place| *place != here).map(|place| {
            let (sender, envelopes) = sync_channel(WAITING);
            let path = path(directory, place);
            thread::spawn(move || {
                // A connection that breaks is made anew; what was on it is lost.
                loop {
                    let _ = send(&path, &envelopes);
                    thread::sleep(Duration::from_millis(20));
                }
            });
            (place, sender)
        });
        Self {
            peers: peers.collect(),
        }
    }
}

impl Transport for Sockets {
    fn send(&mut self, to: Peer, envelope: Envelope) {
        if let Some(peer) = self.peers.get(&place(to)) {
            // What finds no room is lost.
            let _ = peer.try_send(envelope);
        }
    }
}

fn send(path: &Path, envelopes: &Receiver<Envelope>) -> Result<(), Failure> {
    let mut stream = BufWriter::with_capacity(256 << 10, UnixStream::connect(path)?);
    loop {
        let mut next = Some(envelopes.recv()?);
        while let Some(envelope) = next {
            let bytes = envelope.encode()?;
            stream.write_all(&u32::try_from(bytes.len())?.to_be_bytes())?;
            stream.write_all(&bytes)?;
            next = envelopes.try_recv().ok();
        }
        stream.flush()?;
    }
}

/// Hands over what comes to the node at a place.
pub fn listen(
    directory: &Path,
    here: usize,
    receive: impl Fn(Envelope) + Clone + Send + 'static,
) -> Result<(), Failure> {
    let path = path(directory, here);
    // Of an earlier process.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let receive = receive.clone();
            // It ends with the connection.
            thread::spawn(move || drop(read(stream, receive)));
        }
    });
    Ok(())
}

fn read(stream: UnixStream, receive: impl Fn(Envelope)) -> Result<(), Failure> {
    let mut stream = BufReader::with_capacity(256 << 10, stream);
    let mut bytes = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_BYTES {
            return Err("too long".into());
        }
        bytes.resize(length, 0);
        stream.read_exact(&mut bytes)?;
        receive(Envelope::decode(&bytes)?);
    }
}
