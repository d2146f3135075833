/**
 * A counsellor's words on their way: shown at once, sent once.
 *
 * Each has a client id that stays the same over retries, so the server stores it once however often it arrives. What
 * could not be delivered to the server stays here, in memory only, is tried again with growing pauses and at once
 * when the connection returns, and is never dropped in silence. Words of one conversation leave in order.
 */
import { reactive } from 'vue'
import { ApiError } from './api/http'
import type { Id, Message } from './api/types'

export interface Outgoing {
  client_id: string
  conversation_id: Id
  text: string
  written_at: number
  /** sending: on the way. waiting: no connection, will be tried again. refused: the server said no (see error). */
  state: 'sending' | 'waiting' | 'refused'
  tries: number
  error: string
}

export type Send = (conversation_id: Id, text: string, client_id: string) => Promise<Message>

const PAUSES_MS = [1_000, 2_000, 5_000, 10_000, 20_000]

export function pauseAfter(tries: number): number {
  return PAUSES_MS[Math.min(tries, PAUSES_MS.length) - 1] ?? PAUSES_MS[0]!
}

export class Outbox {
  readonly items: Outgoing[] = reactive([])
  private running = new Set<Id>()
  private timer: ReturnType<typeof setTimeout> | null = null

  constructor(
    private readonly send: Send,
    private readonly arrived: (conversation_id: Id, message: Message) => void,
    private readonly newId: () => string = () => crypto.randomUUID(),
  ) {}

  of(conversation_id: Id): Outgoing[] {
    return this.items.filter((item) => item.conversation_id === conversation_id)
  }

  /** How many words have not reached the server. */
  get kept(): number {
    return this.items.length
  }

  write(conversation_id: Id, text: string): void {
    const item: Outgoing = {
      client_id: this.newId(),
      conversation_id,
      text,
      written_at: Date.now(),
      state: 'sending',
      tries: 0,
      error: '',
    }
    this.items.push(item)
    void this.run(conversation_id)
  }

  /** Try everything that waits, now: called when the connection is back. */
  retryAll(): void {
    for (const id of new Set(this.items.filter((item) => item.state !== 'refused').map((i) => i.conversation_id)))
      void this.run(id)
  }

  /** A refused one again, with the same client id. */
  retry(client_id: string): void {
    const item = this.items.find((i) => i.client_id === client_id)
    if (!item) return
    item.state = 'waiting'
    void this.run(item.conversation_id)
  }

  /** Take it back: its words return to the caller, for the composer. */
  takeBack(client_id: string): string {
    const at = this.items.findIndex((i) => i.client_id === client_id)
    if (at < 0) return ''
    return this.items.splice(at, 1)[0]!.text
  }

  clear(): void {
    this.items.splice(0)
  }

  private async run(conversation_id: Id): Promise<void> {
    if (this.running.has(conversation_id)) return
    this.running.add(conversation_id)
    try {
      for (;;) {
        // A refused one needs a person's decision; the later ones do not overtake it.
        const item = this.items.find((i) => i.conversation_id === conversation_id)
        if (!item || item.state === 'refused') return
        item.state = 'sending'
        try {
          const message = await this.send(conversation_id, item.text, item.client_id)
          const at = this.items.indexOf(item)
          if (at >= 0) this.items.splice(at, 1)
          this.arrived(conversation_id, message)
        } catch (error) {
          item.tries += 1
          item.error = error instanceof Error ? error.message : ''
          // A session that ended is mended by logging in again; then retryAll is called.
          const again = error instanceof ApiError && (error.again || error.status === 401)
          item.state = again ? 'waiting' : 'refused'
          for (const later of this.of(conversation_id)) if (later !== item) later.state = 'waiting'
          if (again) this.later(pauseAfter(item.tries))
          return
        }
      }
    } finally {
      this.running.delete(conversation_id)
    }
  }

  private later(ms: number): void {
    if (this.timer) clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.timer = null
      this.retryAll()
    }, ms)
  }
}
