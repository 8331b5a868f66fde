import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The produce command. */
final class Produce {
    private Produce() {}

    static byte[] bytes(JsonNode node) throws Exception {
        return node.isNull() ? null : node.binaryValue();
    }

    static void run(JsonNode command) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", command.get("bootstrap").asText());
        config.put("compression.type", command.get("codec").asText());
        config.put("enable.idempotence", command.path("idempotent").asBoolean());
        config.put("acks", "all");
        config.put("linger.ms", 5);
        config.put("delivery.timeout.ms", 120000);
        if (!command.path("idempotent").asBoolean()) {
            config.put("max.in.flight.requests.per.connection", 1);
        }
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode r : command.get("records")) {
                List<Header> headers = new ArrayList<>();
                for (JsonNode h : r.get("h")) {
                    headers.add(new RecordHeader(h.get(0).asText(), bytes(h.get(1))));
                }
                sent.add(producer.send(new ProducerRecord<>(command.get("topic").asText(), r.get("p").asInt(),
                    r.get("ts").asLong(), bytes(r.get("k")), bytes(r.get("v")), headers)));
            }
            for (int i = 0; i < sent.size(); i++) {
                RecordMetadata m = sent.get(i).get(120, TimeUnit.SECONDS);
                var line = Driver.JSON.createObjectNode();
                line.put("ack", i).put("p", m.partition()).put("o", m.offset()).put("ts", m.timestamp());
                Driver.emit(line);
            }
        }
    }
}
