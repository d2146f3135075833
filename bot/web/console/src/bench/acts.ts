/** Which act on the open conversation has its dialog open; keys and buttons share it. */
import type { InjectionKey, Ref } from 'vue'

export type Act = 'assess' | 'transfer' | 'hand-back' | 'rescue' | 'close' | 'safe-contact' | 'nuisance' | 'erasure' | 'decide'

export const ACT: InjectionKey<Ref<Act | null>> = Symbol('act')
