//! A proxy between two nodes that does to the bytes what networks do.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing passes, and nobody is told.
    Hold,
    /// What the acceptor says does not come back.
    HoldBack,
    /// At most so many bytes pass at a time.
    Dribble(usize),
    /// One bit of the byte at this position after the hello is turned over, in each connection.
    Flip(usize),
}

struct State {
    target: SocketAddr,
    fault: Mutex<Fault>,
    changed: Condvar,
    sockets: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
    accepted: AtomicUsize,
}

pub(crate) struct Proxy {
    state: Arc<State>,
    pub(crate) local: SocketAddr,
}

impl Proxy {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let local = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            target,
            fault: Mutex::new(Fault::None),
            changed: Condvar::new(),
            sockets: Mutex::default(),
            closed: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
        });
        let theirs = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.closed.load(Ordering::SeqCst) {
                    return;
                }
                theirs.accepted.fetch_add(1, Ordering::SeqCst);
                if let Ok(stream) = stream {
                    theirs.connect(stream);
                }
            }
        });
        Self { state, local }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
        self.state.changed.notify_all();
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        for socket in self.state.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        self.set(Fault::None);
        self.cut();
        // Wakes the listener.
        drop(TcpStream::connect(self.local));
    }
}

impl State {
    fn connect(self: &Arc<Self>, near: TcpStream) {
        let Ok(far) = TcpStream::connect(self.target) else {
            return;
        };
        for (from, to, back) in [(&near, &far, false), (&far, &near, true)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let _ = from.set_nodelay(true);
            self.sockets.lock().unwrap().push(from.try_clone().unwrap());
            let state = Arc::clone(self);
            thread::spawn(move || state.copy(from, to, back));
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, back: bool) {
        let mut buffer = vec![0; 64 * 1024];
        let mut passed = 0;
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let fault = self.passes(back);
            let bytes = &mut buffer[..read];
            let step = match fault {
                Fault::Dribble(step) => step,
                Fault::Flip(at) if !back => {
                    if let Some(byte) = at.checked_sub(passed).and_then(|at| bytes.get_mut(at)) {
                        *byte ^= 1 << (at % 8);
                    }
                    read
                }
                _ => read,
            };
            passed += read;
            if bytes.chunks(step).any(|part| to.write_all(part).is_err()) {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Waits while nothing passes.
    fn passes(&self, back: bool) -> Fault {
        let held = |fault: &mut Fault| *fault == Fault::Hold || back && *fault == Fault::HoldBack;
        let fault = self.changed.wait_while(self.fault.lock().unwrap(), held);
        *fault.unwrap()
    }
}
