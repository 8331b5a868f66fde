"""The parts of the end-to-end tests: broker process, client drivers, records, and a raw Kafka client."""
