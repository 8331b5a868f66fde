import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Serves the commands of ../../README.md with Apache Kafka's own clients and tools, in one JVM. */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT =
        new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    static synchronized void emit(ObjectNode line) {
        OUT.println(line.toString());
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode command = JSON.readTree(line);
            ObjectNode last = JSON.createObjectNode();
            try {
                switch (command.get("cmd").asText()) {
                    case "produce" -> Produce.run(command);
                    case "consume" -> Consume.run(command);
                    case "tool" -> Tool.run(command);
                    default -> throw new IllegalArgumentException("unknown command " + line);
                }
                last.put("done", true);
            } catch (Throwable failure) {
                last.put("error", failure + " " + failure.getCause());
            }
            emit(last);
            OUT.flush();
        }
        Runtime.getRuntime().halt(0);
    }
}
