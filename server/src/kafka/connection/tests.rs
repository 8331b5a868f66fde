//! Connections over loopback, with a service that answers when it is told to.

use super::*;
use async_std::net::{TcpListener, TcpStream};
use futures_lite::future::block_on;
use std::sync::Mutex;

/// Answers each request with its own bytes. The first byte says how: `w` when the gate opens, `n` not at all, `c` by
/// closing; anything else at once. Requests that start with `p` take their place.
#[derive(Debug)]
struct Echo {
    gate: Watch<bool>,
    started: Mutex<Vec<u8>>,
}

impl Service for Echo {
    fn places(&self, frame: &[u8]) -> bool {
        frame.first() == Some(&b'p')
    }

    fn call(&self, _: &Arc<Client>, frame: BytesMut) -> BoxFuture<'static, Reply> {
        let kind = frame.first().copied().unwrap_or_default();
        self.started
            .lock()
            .unwrap()
            .push(frame.get(1).copied().unwrap_or_default());
        let gate = self.gate.clone();
        Box::pin(async move {
            if kind == b'w' || kind == b'p' {
                gate.wait_for(|open| *open).await;
            }
            match kind {
                b'n' => Reply::Nothing,
                b'c' => Reply::Close("as told".into()),
                _ => {
                    let mut writer = crate::kafka::wire::Writer::new(frame.len());
                    writer.raw(&frame);
                    Reply::Frame(writer.finish().unwrap())
                }
            }
        })
    }
}

struct Fixture {
    client: TcpStream,
    echo: Arc<Echo>,
    draining: Watch<bool>,
    served: async_std::task::JoinHandle<io::Result<()>>,
}

async fn connect(max_request_bytes: usize) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let echo = Arc::new(Echo {
        gate: Watch::new(false),
        started: Mutex::new(Vec::new()),
    });
    let draining = Watch::new(false);
    let options = ConnectionOptions {
        max_request_bytes,
        budget: Budget::new(1 << 20),
        pipelined_bytes: 100_000,
        draining: draining.clone(),
        metrics: Arc::clone(&crate::metrics::Metrics::new().kafka),
    };
    let client_info = Arc::new(Client {
        address,
        connection: 1,
    });
    let service: Arc<dyn Service> = Arc::<Echo>::clone(&echo);
    let activity = Arc::new(Activity::default());
    let served = serve((stream.clone(), stream), service, client_info, options, activity);
    Fixture {
        client,
        echo,
        draining,
        served: async_std::task::spawn(served),
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut framed = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(body);
    framed
}

async fn read_frame(client: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 4];
    client.read_exact(&mut len).await.unwrap();
    let mut body = vec![0; u32::from_be_bytes(len) as usize];
    client.read_exact(&mut body).await.unwrap();
    body
}

impl Fixture {
    async fn wait_started(&self, wanted: &[u8]) {
        while self.echo.started.lock().unwrap().as_slice() != wanted {
            async_std::task::yield_now().await;
        }
    }
}

#[test]
fn answers_leave_in_the_order_of_the_requests() {
    block_on(async {
        let mut it = connect(1 << 20).await;
        for body in [b"w1", b"a2", b"n3", b"a4"] {
            it.client.write_all(&frame(body)).await.unwrap();
        }
        it.wait_started(b"1").await;
        it.echo.gate.update(|open| !std::mem::replace(open, true));
        for body in [b"w1", b"a2", b"a4"] {
            assert_eq!(read_frame(&mut it.client).await, body);
        }
    });
}

#[test]
fn requests_that_take_their_place_start_before_earlier_ones_are_answered() {
    block_on(async {
        let mut it = connect(1 << 20).await;
        for body in [b"p1", b"p2", b"a3", b"p4"] {
            it.client.write_all(&frame(body)).await.unwrap();
        }
        // The fourth waits for the third, which is answered in its turn.
        it.wait_started(b"12").await;
        it.echo.gate.update(|open| !std::mem::replace(open, true));
        for body in [b"p1", b"p2", b"a3", b"p4"] {
            assert_eq!(read_frame(&mut it.client).await, body);
        }
        assert_eq!(it.echo.started.lock().unwrap().as_slice(), b"1234");
    });
}

#[test]
fn a_connection_with_many_bytes_outstanding_is_not_read_any_further_and_nothing_of_it_is_refused() {
    block_on(async {
        let mut it = connect(1 << 20).await;
        let bodies: Vec<Vec<u8>> = (b'1'..=b'6')
            .map(|number| [&[b'p', number][..], &[0; 40_000]].concat())
            .collect();
        let (mut sender, framed) = (
            it.client.clone(),
            bodies.iter().flat_map(|body| frame(body)).collect::<Vec<_>>(),
        );
        let sent = async_std::task::spawn(async move { sender.write_all(&framed).await.unwrap() });
        it.wait_started(b"12").await;
        for _ in 0..1000 {
            async_std::task::yield_now().await;
        }
        assert_eq!(
            it.echo.started.lock().unwrap().as_slice(),
            b"12",
            "the third does not fit"
        );
        it.echo.gate.update(|open| !std::mem::replace(open, true));
        for body in &bodies {
            assert!(read_frame(&mut it.client).await == *body);
        }
        sent.await;
    });
}

#[test]
fn a_length_above_the_limit_or_below_zero_ends_the_connection() {
    for prefix in [[0xff; 4], 1025u32.to_be_bytes()] {
        block_on(async {
            let mut it = connect(1024).await;
            it.client.write_all(&prefix).await.unwrap();
            assert_eq!(it.served.await.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let mut rest = Vec::new();
            assert_eq!(it.client.read_to_end(&mut rest).await.unwrap(), 0);
        });
    }
}

#[test]
fn a_request_that_cannot_be_understood_ends_the_connection_after_earlier_answers() {
    block_on(async {
        let mut it = connect(1 << 20).await;
        it.client.write_all(&frame(b"a1")).await.unwrap();
        it.client.write_all(&frame(b"c2")).await.unwrap();
        assert_eq!(read_frame(&mut it.client).await, b"a1");
        assert_eq!(it.served.await.unwrap_err().to_string(), "as told");
    });
}

#[test]
fn a_frame_in_many_pieces_is_one_request() {
    block_on(async {
        let mut it = connect(8 << 20).await;
        let body: Vec<u8> = std::iter::once(b'a')
            .chain((0..3_000_000u32).map(|i| i as u8))
            .collect();
        let (mut sender, framed) = (it.client.clone(), frame(&body));
        let sent = async_std::task::spawn(async move {
            for piece in framed.chunks(70_001) {
                sender.write_all(piece).await.unwrap();
            }
        });
        assert!(read_frame(&mut it.client).await == body);
        sent.await;
    });
}

#[test]
fn a_client_that_left_takes_its_waiting_answer_with_it() {
    block_on(async {
        let mut it = connect(1 << 20).await;
        it.client.write_all(&frame(b"w1")).await.unwrap();
        it.wait_started(b"1").await;
        drop(it.client);
        it.served.await.unwrap();
    });
}

#[test]
fn draining_answers_what_was_read_and_reads_no_more() {
    block_on(async {
        let mut it = connect(1 << 20).await;
        it.client.write_all(&frame(b"w1")).await.unwrap();
        it.wait_started(b"1").await;
        it.draining.update(|draining| !std::mem::replace(draining, true));
        it.echo.gate.update(|open| !std::mem::replace(open, true));
        assert_eq!(read_frame(&mut it.client).await, b"w1");
        it.served.await.unwrap();
    });
}
