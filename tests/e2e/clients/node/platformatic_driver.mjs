// Serves the commands of ../README.md with @platformatic/kafka.
import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { b64, bytes, emit, serve } from './io.mjs'

const require = createRequire(process.env.CHRONIK_E2E_NODE_MODULES + '/')
const { Consumer, Producer, MessagesStreamModes } = await import(
  pathToFileURL(require.resolve('@platformatic/kafka')).href)

async function produce (c) {
  const producer = new Producer({ clientId: 'platformatic', bootstrapBrokers: [c.bootstrap], retries: 5 })
  const messages = c.records.map(r => ({
    topic: c.topic,
    partition: r.p,
    key: bytes(r.k) ?? undefined,
    value: bytes(r.v),
    timestamp: BigInt(r.ts),
    // Distinct Buffer keys keep headers of one name apart.
    headers: new Map(r.h.map(([name, value]) => [Buffer.from(name), bytes(value)]))
  }))
  const { offsets } = await producer.send({
    messages, acks: -1, compression: c.codec, idempotent: c.idempotent
  })
  const next = new Map(offsets.map(o => [o.partition, Number(o.offset)]))
  c.records.forEach((r, i) => {
    emit({ ack: i, p: r.p, o: next.get(r.p), ts: null })
    next.set(r.p, next.get(r.p) + 1)
  })
  await producer.close()
}

async function consume (c) {
  const consumer = new Consumer({
    clientId: 'platformatic', bootstrapBrokers: [c.bootstrap], groupId: `platformatic-${randomUUID()}`, retries: 5
  })
  const stream = await consumer.consume({
    topics: [c.topic], mode: MessagesStreamModes.EARLIEST, autocommit: false, maxWaitTime: 200
  })
  const left = new Map(Object.entries(c.ends).filter(([, end]) => end > 0).map(([p, end]) => [Number(p), end]))
  for await (const m of stream) {
    if (!left.has(m.partition)) continue
    const h = m.headerEntries.map(([name, value]) => [name.toString(), b64(value)])
    emit({ p: m.partition, o: Number(m.offset), ts: Number(m.timestamp), k: b64(m.key), v: b64(m.value), h })
    if (Number(m.offset) + 1 >= left.get(m.partition)) left.delete(m.partition)
    if (left.size === 0) break
  }
  await consumer.close(true)
}

await serve({ produce, consume })
