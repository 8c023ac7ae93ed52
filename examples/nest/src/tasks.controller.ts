import { Body, Controller, Get, Param, ParseIntPipe, Patch, Post } from '@nestjs/common';
import { TasksService, type Task } from './tasks.service.js';

@Controller('api/tasks')
export class TasksController {
  constructor(private readonly tasks: TasksService) {}

  @Get()
  all(): Task[] {
    return this.tasks.all();
  }

  @Post()
  add(@Body('title') title: unknown): Task {
    return this.tasks.add(title);
  }

  @Patch(':id')
  move(@Param('id', ParseIntPipe) id: number, @Body('column') column: unknown): Task {
    return this.tasks.move(id, column);
  }
}
