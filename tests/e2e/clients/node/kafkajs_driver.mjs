// Serves the commands of ../README.md with kafkajs and its codec packages.
import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'
import zlib from 'node:zlib'
import { b64, bytes, deadline, emit, serve } from './io.mjs'

const require = createRequire(process.env.CHRONIK_E2E_NODE_MODULES + '/')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const Lz4 = require('kafkajs-lz4')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = new Lz4().codec
// The published zstd codec package does not compile on a current Node, whose own zlib has the codec.
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async buffer => zlib.zstdDecompressSync(buffer)
})
const codecs = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }
const connect = c => new Kafka({ brokers: [c.bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 8 } })

function headersOf (pairs) {
  const headers = {}
  for (const [name, value] of pairs) (headers[name] ??= []).push(bytes(value))
  return headers
}

async function produce (c) {
  const producer = connect(c).producer({ idempotent: c.idempotent, maxInFlightRequests: 1 })
  await producer.connect()
  const messages = c.records.map(r => ({
    partition: r.p, key: bytes(r.k), value: bytes(r.v), headers: headersOf(r.h), timestamp: String(r.ts)
  }))
  const answers = await producer.send({
    topic: c.topic, acks: -1, compression: CompressionTypes[codecs[c.codec]], messages
  })
  const next = new Map(answers.map(a => [a.partition, Number(a.baseOffset)]))
  c.records.forEach((r, i) => {
    emit({ ack: i, p: r.p, o: next.get(r.p), ts: null })
    next.set(r.p, next.get(r.p) + 1)
  })
  await producer.disconnect()
}

async function consume (c) {
  const consumer = connect(c).consumer({ groupId: `kafkajs-${randomUUID()}`, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topic: c.topic, fromBeginning: true })
  const left = new Map(Object.entries(c.ends).filter(([, end]) => end > 0).map(([p, end]) => [Number(p), end]))
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
    const eachMessage = async ({ partition, message: m }) => {
      if (!left.has(partition)) return
      const h = Object.entries(m.headers).flatMap(([name, v]) => [v].flat().map(one => [name, b64(one)]))
      emit({ p: partition, o: Number(m.offset), ts: Number(m.timestamp), k: b64(m.key), v: b64(m.value), h })
      if (Number(m.offset) + 1 >= left.get(partition)) left.delete(partition)
      if (left.size === 0) resolve()
    }
    deadline(consumer.run({ autoCommit: false, eachMessage }), 30000, 'run').catch(reject)
  })
  await consumer.disconnect()
}

await serve({ produce, consume })
