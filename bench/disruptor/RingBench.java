import com.lmax.disruptor.BatchEventProcessor;
import com.lmax.disruptor.BatchEventProcessorBuilder;
import com.lmax.disruptor.BusySpinWaitStrategy;
import com.lmax.disruptor.EventHandler;
import com.lmax.disruptor.RingBuffer;
import java.util.Arrays;

/**
 * The LMAX Disruptor, one producer and one consumer in two threads of one JVM: 64 bytes an event, 65,536 events.
 *
 * <p>java -cp disruptor.jar RingBench.java throughput RECORDS BATCH | latency RECORDS: one JSON object. The producer waits
 * for the consumer where it must, so that nothing is lost; both spin. The first half of a run warms the compiler up.
 */
public final class RingBench {
    static final int CAPACITY = 65_536;
    static final long GAP_NS = 2_000;
    static final long MAX_NS = 5_000_000_000L; // two spinning threads on one busy processor take for ever
    static final int WORDS = 8;

    static final class Event {
        long seq, stamp, w2, w3, w4, w5, w6, w7;
    }

    static final class Taken implements EventHandler<Event> {
        final long[] copy = new long[WORDS];
        final int[] latencies;
        volatile long seen;

        Taken(int records) {
            latencies = new int[records];
        }

        @Override
        public void onEvent(Event e, long sequence, boolean endOfBatch) {
            copy[0] = e.seq; copy[1] = e.stamp; copy[2] = e.w2; copy[3] = e.w3;
            copy[4] = e.w4; copy[5] = e.w5; copy[6] = e.w6; copy[7] = e.w7;
            if (latencies.length > 0) {
                latencies[(int) sequence] = (int) Math.min(Integer.MAX_VALUE, System.nanoTime() - e.stamp);
                seen = sequence + 1;
            } else if (endOfBatch) {
                seen = sequence + 1;
            }
        }
    }

    static void fill(Event e, long sequence) {
        e.seq = sequence; e.stamp = sequence; e.w2 = sequence; e.w3 = sequence;
        e.w4 = sequence; e.w5 = sequence; e.w6 = sequence; e.w7 = sequence;
    }

    public static void main(String[] arguments) throws InterruptedException {
        boolean isLatency = arguments[0].equals("latency");
        int records = Integer.parseInt(arguments[1]);
        int batch = isLatency ? 1 : Integer.parseInt(arguments[2]);
        RingBuffer<Event> ring =
                RingBuffer.createSingleProducer(Event::new, CAPACITY, new BusySpinWaitStrategy());
        Taken taken = new Taken(isLatency ? records : 0);
        BatchEventProcessor<Event> processor =
                new BatchEventProcessorBuilder().build(ring, ring.newBarrier(), taken);
        ring.addGatingSequences(processor.getSequence());
        Thread consumer = new Thread(processor);
        consumer.start();
        if (isLatency) {
            latency(ring, taken, records);
        } else {
            throughput(ring, taken, records, batch);
        }
        processor.halt();
        consumer.join();
    }

    static void throughput(RingBuffer<Event> ring, Taken taken, int records, int batch) {
        int half = records / 2 / batch * batch;
        long begin = 0;
        for (int i = 0; i < 2 * half; i += batch) {
            if (i == half) {
                await(taken, half);
                begin = System.nanoTime();
            }
            long last = ring.next(batch);
            for (long s = last - batch + 1; s <= last; s++) fill(ring.get(s), s);
            ring.publish(last - batch + 1, last);
        }
        await(taken, 2L * half);
        System.out.printf("{\"mps\": %.3f}%n", half * 1e3 / (System.nanoTime() - begin));
    }

    /** The next event is published only when the one before has been seen, and the gap is over. */
    static void latency(RingBuffer<Event> ring, Taken taken, int records) {
        long due = System.nanoTime(), end = due + MAX_NS;
        int sent = 0;
        for (int i = 0; i < records && due < end; i++) {
            await(taken, i);
            while (System.nanoTime() < due) Thread.onSpinWait();
            due = System.nanoTime() + GAP_NS;
            long sequence = ring.next();
            Event e = ring.get(sequence);
            fill(e, sequence);
            e.stamp = System.nanoTime();
            ring.publish(sequence);
            sent++;
        }
        await(taken, sent);
        int[] later = Arrays.copyOfRange(taken.latencies, sent / 2, sent);
        Arrays.sort(later);
        System.out.printf("{\"p50_ns\": %d, \"p99_ns\": %d}%n", later[later.length / 2], later[later.length * 99 / 100]);
    }

    static void await(Taken taken, long upTo) {
        while (taken.seen < upTo) Thread.onSpinWait();
    }
}
