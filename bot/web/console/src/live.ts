/** The socket that brings news: opened again for ever, with pauses of 1 to 10 seconds. News can be lost, so whoever listens also fetches. */
import { ref } from 'vue'
import type { News } from './api/types'

export type Line = 'connecting' | 'live' | 'lost'

const SEEN_EVERY_S = 20
const SESSION_ENDED = 4401

export function startTicking(tick: () => void): void {
  const worker = new Worker(new URL('./heartbeat.ts', import.meta.url), { type: 'module' })
  worker.onmessage = tick
}

export class Live {
  readonly line = ref<Line>('connecting')
  readonly lostAt = ref<number | null>(null)
  private socket: WebSocket | null = null
  private wanted = false
  private tries = 0
  private waitS = 0
  private sinceSeenS = 0

  constructor(
    private readonly on: { news: (news: News) => void; opened: () => void; ended: () => void },
    private readonly address = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/live`,
  ) {
    addEventListener('online', () => this.now())
    addEventListener('offline', () => this.doubt())
  }

  open(): void {
    if (this.wanted) return
    this.wanted = true
    this.tries = 0
    this.connect()
  }

  shut(): void {
    this.wanted = false
    this.socket?.close(1000)
    this.socket = null
  }

  /** Try at once instead of waiting. */
  now(): void {
    if (this.wanted && !this.socket) this.connect()
  }

  /** A request did not get through: the socket may be dead without knowing. Open a new one; that tells. */
  doubt(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return
    const old = this.socket
    this.lost()
    old.close()
  }

  typing(conversation_id: string): void {
    this.say({ typing: conversation_id })
  }

  /** Called once a second. */
  tick(): void {
    if (!this.wanted) return
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.sinceSeenS += 1
      if (this.sinceSeenS >= SEEN_EVERY_S) this.seen()
    } else if (!this.socket) {
      this.waitS -= 1
      if (this.waitS <= 0) this.connect()
    }
  }

  private seen(): void {
    this.sinceSeenS = 0
    this.say({ seen: true })
  }

  private say(words: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(words))
  }

  private connect(): void {
    const socket = new WebSocket(this.address)
    this.socket = socket
    socket.onopen = () => {
      this.tries = 0
      this.line.value = 'live'
      this.lostAt.value = null
      this.seen()
      this.on.opened()
    }
    socket.onmessage = (event) => {
      try {
        this.on.news(JSON.parse(String(event.data)) as News)
      } catch {
        // Not ours to read; the regular fetch brings the truth.
      }
    }
    socket.onclose = (event) => {
      if (this.socket !== socket) return
      if (event.code === SESSION_ENDED) {
        this.socket = null
        this.wanted = false
        this.line.value = 'connecting'
        this.on.ended()
        return
      }
      this.lost()
    }
  }

  private lost(): void {
    this.socket = null
    if (!this.wanted) return
    this.lostAt.value ??= Date.now()
    this.line.value = 'lost'
    this.tries += 1
    this.waitS = Math.min(10, 2 ** (this.tries - 1)) * (0.7 + 0.6 * Math.random())
  }
}
