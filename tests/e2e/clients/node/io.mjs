// The command loop that the Node drivers share (see ../README.md).
import readline from 'node:readline'

export const b64 = b => (b === null || b === undefined ? null : Buffer.from(b).toString('base64'))
export const bytes = s => (s === null ? null : Buffer.from(s, 'base64'))
export const emit = value => process.stdout.write(JSON.stringify(value) + '\n')

export function deadline (promise, ms, what) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

export async function serve (handlers) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    try {
      await deadline(handlers[command.cmd](command), 60000, command.cmd)
      emit({ done: true })
    } catch (error) {
      const causes = (error.errors ?? []).map(e => e.stack).join(' | ')
      emit({ error: `${error.stack} ${causes} ${error.cause?.stack ?? ''}` })
    }
  }
  process.exit(0)
}
