import { BadRequestException, Injectable, NotFoundException } from '@nestjs/common';

export const COLUMNS = ['todo', 'doing', 'done'] as const;
export type Column = (typeof COLUMNS)[number];

export interface Task {
  id: number;
  title: string;
  column: Column;
}

const MAX_TITLE = 80;

// TasksService keeps the board in memory: it begins anew with each start.
@Injectable()
export class TasksService {
  private readonly tasks: Task[] = [
    { id: 1, title: 'Write the first task', column: 'done' },
    { id: 2, title: 'Move this one with its arrow', column: 'todo' },
  ];
  private next = 3;

  all(): Task[] {
    return this.tasks;
  }

  add(title: unknown): Task {
    const text = typeof title === 'string' ? title.trim() : '';
    if (!text || text.length > MAX_TITLE) {
      throw new BadRequestException(`A task has a title of at most ${MAX_TITLE} characters.`);
    }
    const task: Task = { id: this.next++, title: text, column: 'todo' };
    this.tasks.push(task);
    return task;
  }

  move(id: number, column: unknown): Task {
    const task = this.tasks.find((one) => one.id === id);
    if (!task) {
      throw new NotFoundException(`There is no task ${id}.`);
    }
    if (!COLUMNS.includes(column as Column)) {
      throw new BadRequestException(`A task is in one of ${COLUMNS.join(', ')}.`);
    }
    task.column = column as Column;
    return task;
  }
}
