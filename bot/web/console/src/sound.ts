/** The alarm's sound, made by the browser (no file): three rising tones. A browser gives sound only after a first click or key. */
import { ref } from 'vue'

let context: AudioContext | null = null

/** False until the browser lets this page make a sound; the bar then asks for a click. */
export const soundReady = ref(false)

export async function allowSound(): Promise<void> {
  try {
    context ??= new AudioContext()
    if (context.state === 'suspended') await context.resume()
    soundReady.value = context.state === 'running'
  } catch {
    soundReady.value = false
  }
}

const TONES = [
  { hertz: 660, at: 0 },
  { hertz: 880, at: 0.22 },
  { hertz: 1175, at: 0.44 },
]

export function ring(): void {
  if (!context || context.state !== 'running') return
  const start = context.currentTime + 0.02
  for (const tone of TONES) {
    const oscillator = context.createOscillator()
    const volume = context.createGain()
    oscillator.type = 'triangle'
    oscillator.frequency.value = tone.hertz
    volume.gain.setValueAtTime(0, start + tone.at)
    volume.gain.linearRampToValueAtTime(0.35, start + tone.at + 0.02)
    volume.gain.exponentialRampToValueAtTime(0.001, start + tone.at + 0.2)
    oscillator.connect(volume).connect(context.destination)
    oscillator.start(start + tone.at)
    oscillator.stop(start + tone.at + 0.22)
  }
}
