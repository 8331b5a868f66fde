import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The consume command. */
final class Consume {
    private static final long LIMIT_NS = Duration.ofSeconds(60).toNanos();

    private Consume() {}

    static void run(JsonNode command) throws Exception {
        Map<TopicPartition, Long> left = new HashMap<>();
        for (Map.Entry<String, JsonNode> e : command.get("ends").properties()) {
            if (e.getValue().asLong() > 0) {
                int partition = Integer.parseInt(e.getKey());
                left.put(new TopicPartition(command.get("topic").asText(), partition), e.getValue().asLong());
            }
        }
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", command.get("bootstrap").asText());
        config.put("check.crcs", true);
        long start = System.nanoTime();
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(left.keySet());
            consumer.seekToBeginning(left.keySet());
            for (TopicPartition tp : left.keySet()) {
                String partition = String.valueOf(tp.partition());
                JsonNode offset = command.path("from").get(partition);
                JsonNode time = command.path("since").get(partition);
                if (time != null) {
                    consumer.seek(tp, consumer.offsetsForTimes(Map.of(tp, time.asLong())).get(tp).offset());
                } else if (offset != null) {
                    consumer.seek(tp, offset.asLong());
                }
            }
            while (!left.isEmpty()) {
                if (System.nanoTime() - start > LIMIT_NS) {
                    throw new IllegalStateException("not read in time: " + left);
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(500))) {
                    emit(r);
                    TopicPartition tp = new TopicPartition(r.topic(), r.partition());
                    left.computeIfPresent(tp, (key, end) -> r.offset() + 1 >= end ? null : end);
                }
            }
        }
    }

    private static void emit(ConsumerRecord<byte[], byte[]> r) {
        var line = Driver.JSON.createObjectNode();
        line.put("p", r.partition()).put("o", r.offset()).put("ts", r.timestamp());
        line.put("k", r.key()).put("v", r.value());
        var headers = line.putArray("h");
        for (Header h : r.headers()) {
            headers.addArray().add(h.key()).add(h.value());
        }
        Driver.emit(line);
    }
}
