//! Aeron's C client and C media driver over IPC: the peer of `bench/ring.c throughput` and `latency`.
//!
//!     aeron-ipc-bench throughput|latency [records=N] [batch=1|64] [gap_ns=N] [cpu_a=0] [cpu_b=1]
//!
//! One publisher thread and one subscriber thread, each with a client of its own and pinned as `ring.c` pins
//! its processes; the driver is embedded, in its least hungry form (one shared thread that backs off and
//! sleeps), for a machine of two processors has no third for it. The hot loops call the C functions directly.
//! Prints one JSON object.

use rusteron_client::bindings as c;
use rusteron_client::{Aeron, Handlers, AERON_IPC_STREAM};
use rusteron_media_driver::bindings::aeron_threading_mode_enum;
use rusteron_media_driver::testing::EmbeddedDriver;
use std::error::Error;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

const STREAM: i32 = 1001;
const TICK_BYTES: usize = 64;
const FRAGMENTS: usize = 64; // a poll's limit, as ring.c's reader takes at most 64 records
const MTU: usize = 8192; // so that 64 ticks are one fragment
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Options {
    mode: String,
    records: u64,
    batch: usize,
    gap_ns: i64,
    cpu: [usize; 2],
}

fn options() -> Outcome<Options> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().ok_or("say a mode: throughput or latency")?;
    let mut o = Options { mode, records: 4_194_304, batch: 1, gap_ns: 2000, cpu: [0, 1] };
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("options are written key=value")?;
        match key {
            "records" => o.records = value.parse()?,
            "batch" => o.batch = value.parse()?,
            "gap_ns" => o.gap_ns = value.parse()?,
            "cpu_a" => o.cpu[0] = value.parse()?,
            "cpu_b" => o.cpu[1] = value.parse()?,
            _ => return Err(format!("an option that is not known: {key}").into()),
        }
    }
    if !(1..=64).contains(&o.batch) || o.records == 0 || o.records % o.batch as u64 != 0 {
        return Err("batch= must be 1 to 64 and divide records=".into());
    }
    Ok(o)
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

extern "C" {
    fn sched_setaffinity(pid: i32, size: usize, mask: *const u64) -> i32;
    fn clock_gettime(clock: i32, to: *mut Timespec) -> i32;
}

fn pin(cpu: usize) -> Outcome<()> {
    let mut mask = [0u64; 16];
    mask[cpu / 64] = 1 << (cpu % 64);
    match unsafe { sched_setaffinity(0, std::mem::size_of_val(&mask), mask.as_ptr()) } {
        0 => Ok(()),
        _ => Err("cannot pin to the processor asked for".into()),
    }
}

fn now_ns() -> i64 {
    let mut t = Timespec { seconds: 0, nanoseconds: 0 };
    unsafe { clock_gettime(1, &mut t) }; // CLOCK_MONOTONIC
    t.seconds * 1_000_000_000 + t.nanoseconds
}

/// What the subscriber's handler fills: the last message, and how many there were.
#[repr(C)]
struct Received {
    message: [u8; 64 * TICK_BYTES],
    count: u64,
    latencies: Option<Vec<i64>>,
}

unsafe extern "C-unwind" fn on_message(state: *mut c_void, data: *const u8, n: usize, _: *mut c::aeron_header_t) {
    let received = &mut *state.cast::<Received>();
    std::ptr::copy_nonoverlapping(data, received.message.as_mut_ptr(), n.min(received.message.len()));
    received.count += 1;
    if let Some(latencies) = &mut received.latencies {
        let sent = i64::from_ne_bytes(received.message[8..16].try_into().unwrap());
        latencies.push(now_ns() - sent);
    }
}

struct Outcomes {
    end_ns: i64,
    latencies: Vec<i64>,
}

/// Takes `messages` messages; `ready` is set when the subscription stands.
fn subscribe(dir: String, messages: u64, timed: bool, cpu: usize, ready: Arc<AtomicBool>) -> Outcome<Outcomes> {
    let aeron = Aeron::connect_dir(&dir)?;
    let subscription = aeron
        .async_add_subscription(AERON_IPC_STREAM, STREAM, Handlers::NONE, Handlers::NONE)?
        .poll_blocking(PATIENCE)?;
    pin(cpu)?;
    let mut received = Received {
        message: [0; 64 * TICK_BYTES],
        count: 0,
        latencies: timed.then(|| Vec::with_capacity(messages as usize)),
    };
    let raw = subscription.get_inner();
    ready.store(true, Ordering::Release);
    while received.count < messages {
        let state = (&raw mut received).cast();
        if unsafe { c::aeron_subscription_poll(raw.cast(), Some(on_message), state, FRAGMENTS) } < 0 {
            return Err("polling failed".into());
        }
        std::hint::spin_loop();
    }
    Ok(Outcomes { end_ns: now_ns(), latencies: received.latencies.unwrap_or_default() })
}

fn main() -> Outcome<()> {
    let o = options()?;
    let timed = o.mode == "latency";
    let messages = if timed { o.records } else { o.records / o.batch as u64 };
    let driver = EmbeddedDriver::launch_with(|context| {
        context.set_threading_mode(aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED)?;
        context.set_ipc_mtu_length(MTU)?;
        context.set_term_buffer_sparse_file(false)?;
        Ok(())
    })?;
    let aeron = Aeron::connect_dir(driver.dir())?;
    let publication =
        aeron.async_add_exclusive_publication(AERON_IPC_STREAM, STREAM)?.poll_blocking(PATIENCE)?;
    let ready = Arc::new(AtomicBool::new(false));
    let (dir, flag, cpu) = (driver.dir().to_string(), ready.clone(), o.cpu[1]);
    let subscriber = std::thread::spawn(move || subscribe(dir, messages, timed, cpu, flag));
    pin(o.cpu[0])?;
    while !(ready.load(Ordering::Acquire) && publication.is_connected()) {
        if subscriber.is_finished() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }

    let mut message = vec![0u8; if timed { TICK_BYTES } else { o.batch * TICK_BYTES }];
    let raw = publication.get_inner();
    let start = now_ns();
    let mut due = start + 1_000_000;
    for _ in 0..messages {
        if timed {
            let mut stamp = now_ns();
            while stamp < due {
                stamp = now_ns();
            }
            due = due.max(stamp - 10 * o.gap_ns) + o.gap_ns;
            message[8..16].copy_from_slice(&stamp.to_ne_bytes());
        }
        loop {
            let position = unsafe {
                c::aeron_exclusive_publication_offer(raw.cast(), message.as_ptr(), message.len(), None, null_mut())
            };
            if position >= 0 {
                break;
            }
            if subscriber.is_finished() {
                return Err("the subscriber is gone".into());
            }
            std::hint::spin_loop(); // back pressure, or the end of a term
        }
    }
    let mut done = subscriber.join().map_err(|_| "the subscriber panicked")??;
    if timed {
        done.latencies.sort_unstable();
        let at = |q: f64| done.latencies[((q * messages as f64) as usize).min(done.latencies.len() - 1)];
        println!("{{\"p50_ns\": {}, \"p99_ns\": {}}}", at(0.5), at(0.99));
    } else {
        println!("{{\"mps\": {:.2}}}", o.records as f64 * 1e3 / (done.end_ns - start) as f64);
    }
    Ok(())
}
