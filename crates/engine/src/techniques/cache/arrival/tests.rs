//! Content on its way, and those who read it.

use super::*;
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Pieces of 1 KiB, as fast as they are asked for.
struct Pieces {
    left: usize,
    taken: Rc<Cell<usize>>,
    end: Option<Error>,
}

impl Source for Pieces {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.left == 0 {
            return Poll::Ready(self.end.take().map(Err));
        }
        self.left -= 1;
        self.taken.set(self.taken.get() + 1);
        Poll::Ready(Some(Ok(Chunk::Data(Bytes::from(vec![b'x'; 1024])))))
    }

    fn size(&self) -> Size {
        Size::Unknown
    }
}

fn pieces(left: usize, end: Option<Error>) -> (Body, Rc<Cell<usize>>) {
    let taken = Rc::new(Cell::new(0));
    (Body::Stream(Box::new(Pieces { left, taken: Rc::clone(&taken), end })), taken)
}

async fn read(mut body: Body) -> Result<usize, Error> {
    let mut bytes = 0;
    while let Some(chunk) = body.chunk().await {
        match chunk? {
            Chunk::Data(data) => bytes += data.len(),
            Chunk::Trailers(_) => break,
        }
    }
    Ok(bytes)
}

#[tokio::test]
async fn everybody_gets_all_of_it_and_a_part_is_cut_out_of_it() {
    let arrival = Arrival::new(Some(4 * 1024), false);
    let readers = (arrival.read(None), arrival.read(None), arrival.read(Some((1_000, 3_000))));
    assert_eq!(readers.2.size(), Size::Exact(2_001));
    let (body, _) = pieces(4, None);
    let (whole, one, other, part) =
        tokio::join!(arrival.take_in(body, || ()), read(readers.0), read(readers.1), read(readers.2));
    assert_eq!((whole.unwrap().content.len(), one, other, part), (4_096, Ok(4_096), Ok(4_096), Ok(2_001)));
    assert_eq!(read(arrival.read(None)).await, Ok(4_096), "who comes late as well");
}

#[tokio::test]
async fn what_is_cut_off_is_cut_off_for_everybody_and_not_kept() {
    let arrival = Arrival::new(None, false);
    let reader = arrival.read(None);
    let (body, _) = pieces(2, Some(Error::Truncated));
    let (whole, read) = tokio::join!(arrival.take_in(body, || ()), read(reader));
    assert_eq!((whole.is_some(), read), (false, Err(Error::Truncated)));
}

#[tokio::test]
async fn an_answer_beyond_the_bound_passes_and_is_not_kept() {
    for (count, is_kept) in [(1_024, true), (1_025, false), (5_000, false)] {
        let arrival = Arrival::new(None, false);
        let reader = arrival.read(None);
        let (body, _) = pieces(count, None);
        let (whole, read) = tokio::join!(arrival.take_in(body, || ()), read(reader));
        assert_eq!((whole.is_some(), read), (is_kept, Ok(count * 1_024)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_taken_in_no_faster_than_it_is_read_and_who_holds_up_others_is_cut_off() {
    let arrival = Arrival::new(None, false);
    let (reader, mut idle) = (arrival.read(None), arrival.read(None));
    let (body, taken) = pieces(8_000, None);
    let (whole, read) = tokio::join!(arrival.take_in(body, || ()), read(reader));
    assert_eq!((whole.is_some(), read), (false, Ok(8_000 * 1_024)));
    assert_eq!(idle.chunk().await.unwrap().unwrap_err(), Error::CallerStalled);
    let arrival = Arrival::new(None, false);
    let alone = arrival.read(None);
    let (body, held) = pieces(8_000, None);
    let waits = tokio::time::timeout(Duration::from_secs(60), arrival.take_in(body, || ())).await;
    assert!(waits.is_err() && held.get() < 2_000, "one alone may take its time: {}", held.get());
    drop(alone);
    assert_eq!(taken.get(), 8_000);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_given_up_after_a_while_however_slowly_it_comes() {
    struct Drip(tokio::time::Interval);
    impl Source for Drip {
        fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
            self.0.poll_tick(cx).map(|_| Some(Ok(Chunk::Data(Bytes::from_static(b"x")))))
        }
        fn size(&self) -> Size {
            Size::Unknown
        }
    }
    for every_s in [1, 60] {
        let arrival = Arrival::new(None, false);
        let body = Body::Stream(Box::new(Drip(tokio::time::interval(Duration::from_secs(every_s)))));
        let given_up = tokio::time::timeout(4 * UNREAD, arrival.take_in(body, || ())).await;
        assert!(given_up.is_ok_and(|whole| whole.is_none()), "every {every_s} s");
    }
}

#[tokio::test]
async fn content_in_tiny_pieces_takes_no_more_memory_than_its_bound() {
    let arrival = Arrival::new(None, false);
    (0..100_000).for_each(|_| assert!(!arrival.add(b"x")));
    assert!(
        arrival.state().pieces.len() <= 100_000 / PIECE_BYTES_MIN + 1,
        "put together while nobody reads them"
    );
    let (arrival, mut reads) = (Arrival::new(None, false), Vec::new());
    let mut reader = arrival.read(None);
    for _ in 0..=PIECES_MAX {
        arrival.add(b"x");
        reads.push(reader.chunk().await.is_some());
    }
    assert!(reads.iter().all(|read| *read) && arrival.hold().is_none(), "not kept, and read all the same");
}

#[tokio::test]
async fn what_nobody_wants_and_will_not_be_kept_is_given_up() {
    let arrival = Arrival::new(None, false);
    drop(arrival.read(None));
    let (body, taken) = pieces(1_000_000, None);
    assert!(arrival.take_in(body, || ()).await.is_none());
    assert!(taken.get() < 2_000, "{}", taken.get());
}

#[tokio::test]
async fn nobody_begins_in_the_middle() {
    let arrival = Arrival::new(None, false);
    let reader = arrival.read(None);
    let (body, _) = pieces(3_000, None);
    let (_, read_all) = tokio::join!(arrival.take_in(body, || ()), read(reader));
    assert_eq!(read_all, Ok(3_000 * 1_024));
    assert!(arrival.hold().is_none());
    assert_eq!(read(arrival.read(None)).await, Err(Error::Truncated), "and an end is no beginning");
}

#[tokio::test(start_paused = true)]
async fn who_was_cut_off_keeps_nothing_coming() {
    let arrival = Arrival::new(None, false);
    let (reader, idle) = (arrival.read(None), arrival.read(None));
    let (body, taken) = pieces(1_000_000, None);
    let leaves = async {
        let _ = tokio::time::timeout(Duration::from_secs(30), read_until(reader, 8_000)).await;
    };
    let (whole, ()) = tokio::join!(arrival.take_in(body, || ()), leaves);
    assert!(whole.is_none() && taken.get() < 40_000, "{} with nobody but one who was cut off", taken.get());
    drop(idle);
}

/// Reads so many pieces and hangs up.
async fn read_until(mut body: Body, pieces: usize) {
    for _ in 0..pieces {
        if body.chunk().await.is_none() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_piece_now_and_then_is_cut_off_as_well() {
    let arrival = Arrival::new(None, false);
    let (reader, mut slow) = (arrival.read(None), arrival.read(None));
    let (body, _) = pieces(8_000, None);
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_secs(9)).await;
            if let Err(error) = slow.chunk().await.unwrap() {
                return error;
            }
        }
    };
    let (_, read_all, error) = tokio::join!(arrival.take_in(body, || ()), read(reader), trickle);
    assert_eq!((read_all, error), (Ok(8_000 * 1_024), Error::CallerStalled));
}

#[tokio::test]
async fn content_that_nobody_takes_in_any_more_is_cut_for_those_who_read_it() {
    let arrival = Arrival::new(Some(9), false);
    let reader = arrival.read(None);
    let never = Body::Stream(Box::new(Never));
    let stopped = tokio::time::timeout(Duration::ZERO, arrival.take_in(never, || ())).await;
    assert!(stopped.is_err());
    assert_eq!(read(reader).await, Err(Error::Truncated));
    assert!(arrival.hold().is_none(), "nor does anybody find it");
}

/// Content of which nothing comes.
struct Never;

impl Source for Never {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        Poll::Pending
    }
    fn size(&self) -> Size {
        Size::Unknown
    }
}

#[tokio::test]
async fn trailers_come_after_content_of_known_length_where_they_may() {
    let body = || Body::Bytes(Bytes::from_static(b"12")).ending(|_| Some(Fields::default()));
    let arrival = Arrival::new(Some(2), true);
    let mut reader = arrival.read(None);
    assert_eq!(reader.size(), Size::Exact(2));
    let whole = arrival.take_in(body(), || ()).await.expect("it came whole");
    assert!(whole.trailers.is_some());
    assert!(matches!(reader.chunk().await, Some(Ok(Chunk::Data(_)))));
    assert!(matches!(reader.chunk().await, Some(Ok(Chunk::Trailers(_)))));
}

#[tokio::test(start_paused = true)]
async fn who_has_read_a_little_and_stalls_holds_back_the_origin_as_well() {
    let arrival = Arrival::new(None, false);
    let mut alone = arrival.read(None);
    let (body, taken) = pieces(100_000, None);
    let reads_a_little = async {
        alone.chunk().await;
        std::future::pending::<()>().await
    };
    let both = async { tokio::join!(arrival.take_in(body, || ()), reads_a_little) };
    assert!(tokio::time::timeout(Duration::from_secs(60), both).await.is_err());
    assert!(taken.get() < 2_000, "{}", taken.get());
}
