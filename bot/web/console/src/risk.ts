/**
 * Risk: one colour and one shape everywhere, never colour alone.
 *
 * none grey circle · low blue square · medium yellow triangle · high orange diamond · critical red octagon.
 */
import type { Risk } from './api/types'

export const RISKS: readonly Risk[] = ['none', 'low', 'medium', 'high', 'critical']

/** 0 none … 4 critical. A level this page does not know is treated as the gravest: fail towards a human. */
export function riskRank(risk: Risk): number {
  const rank = RISKS.indexOf(risk)
  return rank < 0 ? RISKS.length - 1 : rank
}

export interface Mark {
  shape: 'circle' | 'square' | 'triangle' | 'diamond' | 'octagon'
  /** The name of its colour in style.css: --risk-<name>. */
  colour: string
  /** SVG path in a 16 × 16 box; null for the circle. */
  path: string | null
}

const MARKS: Record<Risk, Mark> = {
  none: { shape: 'circle', colour: '--risk-none', path: null },
  low: { shape: 'square', colour: '--risk-low', path: 'M3 3H13V13H3Z' },
  medium: { shape: 'triangle', colour: '--risk-medium', path: 'M8 1.5 15 14H1Z' },
  high: { shape: 'diamond', colour: '--risk-high', path: 'M8 .5 15.5 8 8 15.5 .5 8Z' },
  critical: { shape: 'octagon', colour: '--risk-critical', path: 'M5 .5H11L15.5 5V11L11 15.5H5L.5 11V5Z' },
}

export function mark(risk: Risk): Mark {
  return MARKS[risk] ?? MARKS.critical
}
