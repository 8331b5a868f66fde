//! A proxy on loopback that holds back, damages and breaks what passes.

use crate::world::locked;
use crate::world::net::Way;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const NOTHING: u8 = 0;
const FLIP: u8 = 1;
const CUT: u8 = 2;
const LOOK_AGAIN: Duration = Duration::from_millis(2);

#[derive(Debug)]
struct State {
    target: Mutex<SocketAddr>,
    hold_to_listener: AtomicBool,
    hold_to_dialler: AtomicBool,
    refuses: AtomicBool,
    dribbles: AtomicBool,
    harm: AtomicU8,
    attempts: AtomicU64,
    /// A change breaks the connections of before.
    generation: AtomicU64,
    ended: AtomicBool,
}

/// A proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    state: Arc<State>,
    local: SocketAddr,
}

impl Proxy {
    /// Listens on a free port of loopback and leads to `target`.
    ///
    /// # Panics
    /// Where the machine has no port or no thread left.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let local = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(State {
            target: Mutex::new(target),
            hold_to_listener: AtomicBool::new(false),
            hold_to_dialler: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            dribbles: AtomicBool::new(false),
            harm: AtomicU8::new(NOTHING),
            attempts: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        start_thread(move || accept(&listener, &shared));
        Self { state, local }
    }

    /// Where it listens.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Leads elsewhere from the next connection on.
    pub fn point_to(&self, target: SocketAddr) {
        *locked(&self.state.target) = target;
    }

    /// Holds back the bytes of one way; connections that begin meanwhile hang too.
    pub fn hold(&self, way: Way, on: bool) {
        self.state.held(way).store(on, Ordering::SeqCst);
    }

    /// Ends new connections at once, or takes them again.
    pub fn refuse(&self, on: bool) {
        self.state.refuses.store(on, Ordering::SeqCst);
    }

    /// Breaks all connections.
    pub fn reset(&self) {
        self.state.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Turns a bit of what passes next towards the listener.
    pub fn flip(&self) {
        self.state.harm.store(FLIP, Ordering::SeqCst);
    }

    /// Ends the connection in the middle of what passes next towards the listener.
    pub fn cut(&self) {
        self.state.harm.store(CUT, Ordering::SeqCst);
    }

    /// Forgets a harm that did not happen yet.
    pub fn spare(&self) {
        self.state.harm.store(NOTHING, Ordering::SeqCst);
    }

    /// Passes bytes one at a time, or together again.
    pub fn dribble(&self, on: bool) {
        self.state.dribbles.store(on, Ordering::SeqCst);
    }

    /// How many connections there were.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.state.attempts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.reset();
        // The listener's thread waits for a connection.
        let _ = TcpStream::connect(self.local);
    }
}

impl State {
    const fn held(&self, way: Way) -> &AtomicBool {
        match way {
            Way::ToListener => &self.hold_to_listener,
            Way::ToDialler => &self.hold_to_dialler,
        }
    }

    fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::SeqCst) == generation
    }

    fn is_held(&self, way: Way) -> bool {
        self.held(way).load(Ordering::SeqCst)
    }
}

fn start_thread(body: impl FnOnce() + Send + 'static) {
    let spawned = thread::Builder::new().name("check-proxy".to_owned()).spawn(body);
    assert!(spawned.is_ok(), "the system has threads: {spawned:?}");
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while let Ok((dialler, _)) = listener.accept() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        state.attempts.fetch_add(1, Ordering::SeqCst);
        if state.refuses.load(Ordering::SeqCst) {
            continue;
        }
        let target = *locked(&state.target);
        let Ok(there) = TcpStream::connect(target) else {
            continue;
        };
        let generation = state.generation.load(Ordering::SeqCst);
        for (way, from, to) in [
            (Way::ToListener, &dialler, &there),
            (Way::ToDialler, &there, &dialler),
        ] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                continue;
            };
            let state = Arc::clone(state);
            start_thread(move || {
                // However it ended, it ends for both sides.
                let _ = pass(&from, &to, way, &state, generation);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

/// Moves bytes one way until the connection ends or is broken.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    way: Way,
    state: &State,
    generation: u64,
) -> io::Result<()> {
    from.set_read_timeout(Some(LOOK_AGAIN))?;
    to.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    while state.is_current(generation) {
        if state.is_held(way) {
            thread::sleep(LOOK_AGAIN);
            continue;
        }
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        };
        let mut bytes = buffer.get_mut(..count).unwrap_or_default();
        // A hold that came while this end waited for bytes applies to them.
        while state.is_held(way) && state.is_current(generation) {
            thread::sleep(LOOK_AGAIN);
        }
        if way == Way::ToListener {
            match state.harm.swap(NOTHING, Ordering::SeqCst) {
                FLIP => flip(bytes, generation),
                CUT => {
                    bytes = bytes.get_mut(..count / 2).unwrap_or_default();
                    to.write_all(bytes)?;
                    return Ok(());
                }
                _ => {}
            }
        }
        if state.dribbles.load(Ordering::SeqCst) {
            bytes.iter().try_for_each(|byte| to.write_all(&[*byte]))?;
        } else {
            to.write_all(bytes)?;
        }
    }
    Ok(())
}

/// Turns a bit in the last third, where a message's own bytes are likely to be.
fn flip(bytes: &mut [u8], salt: u64) {
    let third = bytes.len() / 3;
    let at = bytes.len() - 1 - usize::try_from(salt * 7 % 64).unwrap_or(0).min(third);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (salt % 8);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
