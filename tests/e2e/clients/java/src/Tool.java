import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.common.utils.Exit;

/**
 * The tool command: calls the main method of one of Kafka's command line tools with its own stdin and stdout. A call of
 * exit becomes an exception, and the first one gives the status; shutdown hooks run when main has ended or its time is up.
 */
final class Tool {
    private Tool() {}

    private static final class Exited extends RuntimeException {
        final int status;

        Exited(int status) {
            super("exit " + status);
            this.status = status;
        }
    }

    static void run(JsonNode command) throws Exception {
        List<String> args = new ArrayList<>();
        command.get("args").forEach(a -> args.add(a.asText()));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        List<Runnable> hooks = new ArrayList<>();
        AtomicReference<Integer> status = new AtomicReference<>();
        Exit.Procedure leave = (code, message) -> {
            status.compareAndSet(null, code);
            throw new Exited(code);
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        Exit.setShutdownHookAdder((name, runnable) -> hooks.add(runnable));
        InputStream in = System.in;
        PrintStream oldOut = System.out;
        PrintStream oldErr = System.err;
        System.setIn(new ByteArrayInputStream(command.path("input").asText("").getBytes(StandardCharsets.UTF_8)));
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        Thread thread = new Thread(() -> call(command.get("main").asText(), args, status), "tool");
        try {
            thread.start();
            thread.join(command.path("wait_ms").asLong(60000));
            boolean stopped = thread.isAlive();
            List.copyOf(hooks).forEach(Runnable::run);
            thread.join(20000);
            status.compareAndSet(null, 0);
            var line = Driver.JSON.createObjectNode();
            line.put("out", out.toString(StandardCharsets.UTF_8)).put("err", err.toString(StandardCharsets.UTF_8));
            line.put("exit", status.get()).put("stopped", stopped).put("hung", thread.isAlive());
            Driver.emit(line);
        } finally {
            System.setIn(in);
            System.setOut(oldOut);
            System.setErr(oldErr);
        }
    }

    private static void call(String name, List<String> args, AtomicReference<Integer> status) {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args.toArray(new String[0]));
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Exited)) {
                thrown.getCause().printStackTrace();
                status.compareAndSet(null, 1);
            }
        } catch (ReflectiveOperationException missing) {
            missing.printStackTrace();
            status.compareAndSet(null, 1);
        }
    }
}
