/** What every form of a conversation does: send, refresh the screen, or say why not and keep what was typed. */
import { ElMessage } from 'element-plus'
import 'element-plus/es/components/message/style/css'
import { type Ref, ref } from 'vue'
import { useBench } from '../stores/bench'

export interface Sending {
  busy: Ref<boolean>
  trouble: Ref<string>
  send: (work: () => Promise<unknown>, done: string) => Promise<boolean>
}

export function useSending(): Sending {
  const bench = useBench()
  const busy = ref(false)
  const trouble = ref('')

  async function send(work: () => Promise<unknown>, done: string): Promise<boolean> {
    if (busy.value) return false
    busy.value = true
    trouble.value = ''
    try {
      await work()
      if (done) ElMessage.success(done)
      await bench.loadCurrent()
      bench.refreshLists()
      return true
    } catch (error) {
      trouble.value = `${(error as Error).message}。填写的内容还在，可以再试。`.replace('。。', '。')
      return false
    } finally {
      busy.value = false
    }
  }

  return { busy, trouble, send }
}
